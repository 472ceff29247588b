"""The cache of a machine: bounded, atomic, and it keeps what a process uses."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quorate.data.cache import CacheError, CacheFull, FileCache, node_cache
from quorate.errors import UserError


def fill(cache: FileCache, *names: str, size: int = 40) -> None:
    """Add files of 40 bytes that were last used in this order, some seconds apart."""
    for age, name in zip(range(len(names), 0, -1), names, strict=True):
        cache.add(name, [b"x" * size], size)
        used = time.time() - 10 * age
        os.utime(cache.folder / name, (used, used))


def names(cache: FileCache) -> set[str]:
    return {path.name for path in cache.folder.rglob("*") if not path.name.startswith(".lock")}


def test_a_file_comes_back_as_it_was_added(tmp_path):
    cache = FileCache(tmp_path / "cache", 100)

    cache.add("images/a", [b"one ", memoryview(b"two")], 7)

    assert cache.read("images/a") == b"one two"
    assert cache.read("images/b") is None
    assert cache.open("images/b") is None


def test_the_files_that_were_used_least_recently_make_room_for_a_new_one(tmp_path):
    cache = FileCache(tmp_path, 100)
    fill(cache, "a", "b")
    cache.read("a")  # now b is the one that was not used for longest

    fill(cache, "c")

    assert names(cache) == {"a", "c"}


@pytest.mark.parametrize("use", ["open", "mapped"])
def test_a_file_that_another_process_uses_is_not_evicted(tmp_path, use):
    # given: a process that has the oldest file open, or has only mapped it
    cache = FileCache(tmp_path, 100)
    fill(cache, "a", "b")
    code = (
        "import sys, mmap, pathlib\n"
        "from quorate.data.cache import FileCache\n"
        "file = FileCache(pathlib.Path(sys.argv[1]), 100).open('a')\n"
        "if sys.argv[2] == 'mapped':\n"
        "    pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ); file.close()\n"
        "print('ready', flush=True); sys.stdin.read()\n"
    )
    platform = str(Path(__file__).parents[2] / "platform")
    user = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), use],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": platform},
    )
    try:
        assert user.stdout.readline() == b"ready\n"
        os.utime(tmp_path / "a", (0, 0))

        # when, then: b goes instead, and then there is no room for a third file
        fill(cache, "c")
        assert names(cache) == {"a", "c"}
        assert cache.room() == 60
        assert cache.room(["a"]) == 100
        with cache.open("c"), pytest.raises(CacheFull, match=r"no room for 40 B: its size is 100 B, and files of 80 B"):
            fill(cache, "d")
    finally:
        user.kill()
        user.communicate()

    fill(cache, "d")  # the kernel has released the lock of the dead process
    assert names(cache) == {"c", "d"}


def test_an_evicted_file_that_is_still_mapped_here_keeps_its_content(tmp_path):
    cache = FileCache(tmp_path, 100)
    fill(cache, "a")
    with cache.open("a") as file:
        pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    (tmp_path / "a").unlink()  # as a user may do

    assert pages[:3] == b"xxx"


def test_a_write_that_fails_leaves_nothing(tmp_path):
    cache = FileCache(tmp_path / "cache", 100)

    def parts():
        yield b"half"
        raise ValueError("the rest cannot be made")

    with pytest.raises(ValueError, match="the rest"):
        cache.add("a", parts(), 8)

    assert cache.read("a") is None
    assert names(cache) == set()


def test_a_folder_that_cannot_be_written_is_an_error_with_its_fix(tmp_path):
    (tmp_path / "file").touch()
    cache = FileCache(tmp_path / "file" / "cache", 100)

    with pytest.raises(CacheError, match=r"cannot be used: Not a directory; set QUORATE_CACHE to a writable folder"):
        cache.add("a", [b""], 0)


def test_the_files_of_a_tree_are_not_counted_for_each_new_file(tmp_path, monkeypatch):
    # given: a tree of 60 bytes, and one that is being filled
    cache = FileCache(tmp_path, 200)
    cache.add_tree("trees/a", lambda folder: (folder / "file").write_bytes(bytes(60)) and None, 60)
    monkeypatch.setattr(Path, "rglob", None)
    rooms = []

    def fill_slowly(folder: Path) -> None:
        rooms.append(cache.room())
        cache.add("b", [bytes(40)], 40)

    # when
    cache.add_tree("trees/c", fill_slowly, 100)

    # then
    assert rooms == [100], "100 of 200 bytes are for the tree that is being filled; the other one can be evicted"
    assert cache.hold_tree("trees/c") is not None
    monkeypatch.undo()
    cache.add("d", [bytes(60)], 60)
    assert {path.name for path in (tmp_path / "trees").iterdir()} == {"c", ".size-c"}, "a goes with its size"


@pytest.mark.parametrize(
    "use",
    [
        lambda cache: cache.open("a"),
        lambda cache: cache.add("b", [b""], 0),
        lambda cache: cache.locked("a").__enter__(),
        lambda cache: cache.hold_tree("trees/a"),
        lambda cache: cache.add_tree("trees/b", lambda folder: None, 0),
    ],
)
def test_a_file_system_without_locks_is_an_error_with_its_fix(tmp_path, monkeypatch, use):
    cache = FileCache(tmp_path, 100)
    fill(cache, "a")
    (tmp_path / "trees" / "a").mkdir(parents=True)

    def refuse(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)

    with pytest.raises(CacheError, match="cannot be used: No locks available; set QUORATE_CACHE to a writable folder"):
        use(cache)


def test_a_user_without_a_home_folder_is_told_to_set_one_for_the_cache(monkeypatch):
    monkeypatch.delenv("QUORATE_CACHE", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)  # as of a container whose user is in no list of users

    with pytest.raises(
        CacheError, match=r"~/\.cache/quorate cannot be used: this user has no home folder; set QUORATE"
    ):
        node_cache()


def test_the_environment_sets_the_folder_and_the_size(tmp_path, monkeypatch):
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path))
    monkeypatch.setenv("QUORATE_CACHE_SIZE", "3GiB")
    assert node_cache() == FileCache(tmp_path / "files", 3 << 30)

    monkeypatch.setenv("QUORATE_CACHE_SIZE", "much")
    with pytest.raises(UserError, match="QUORATE_CACHE_SIZE: 'much' is neither a number of bytes nor a size"):
        node_cache()


def test_by_default_the_cache_takes_at_most_half_of_the_space_that_is_free(tmp_path, monkeypatch):
    cache = FileCache(tmp_path, None)

    class Usage:
        free = 60

    fill(cache, "a")
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    assert cache.room(["a"]) == 50, "60 bytes are free, and the cache has 40: half of 100"
    fill(cache, "b", size=50)
    assert names(cache) == {"b"}
