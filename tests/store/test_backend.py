"""Every backend stores named bytes atomically, keeps the first commit, and opens at the user's path."""

from __future__ import annotations

import threading

import pytest
from tests.store.contents import names, python

from quorate.store import LocalBackend, open_store


def test_content_can_be_written_read_and_replaced(backend):
    assert backend.read("a/b") is None

    for content in (b"first", b"second", b""):
        backend.write("a/b", content)
        assert backend.read("a/b") == content


def test_only_the_first_create_counts(backend):
    assert backend.create("a/b", b"first")
    assert not backend.create("a/b", b"second")
    assert backend.read("a/b") == b"first"


def test_a_swap_requires_the_current_content(backend):
    assert not backend.swap("a", b"something", b"1")
    assert backend.swap("a", None, b"1")
    assert not backend.swap("a", None, b"2")
    assert not backend.swap("a", b"other", b"2")
    assert backend.swap("a", b"1", b"2")
    assert backend.read("a") == b"2"


def test_a_name_whose_item_was_removed_is_free_again(backend):
    for method in ("write", "put", "create", "swap"):
        backend.write("a", b"1")
        assert backend.remove_idle("a", 0)
        assert backend.read("a") is None
        assert not backend.swap("a", b"1", b"2")

        given = (None, b"new") if method == "swap" else (b"new",)
        assert getattr(backend, method)("a", *given) in (None, True)

        assert backend.read("a") == b"new"
        assert names(backend) == ["a"]


def test_concurrent_swaps_each_count_once(backend):
    def count() -> None:
        done = 0
        while done < 10:
            present = backend.read("n")
            done += backend.swap("n", present, str(int(present or b"0") + 1).encode())

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert backend.read("n") == b"40"


def test_names_are_listed_below_a_prefix_in_order(backend):
    for name in ("b/2", "b/1", "a/1"):
        backend.write(name, b"")
    backend.swap("b/3", None, b"")

    assert names(backend, "b") == ["b/1", "b/2", "b/3"]
    assert names(backend, "none") == []


def test_moving_and_removing_a_missing_name_is_no_error(backend):
    backend.move("none", "elsewhere")
    backend.remove("none")
    backend.write("a", b"1")
    backend.move("a", "x/y")

    assert names(backend) == ["x/y"]


@pytest.mark.parametrize("method", ["write", "create"])
def test_a_crash_between_writing_and_placing_leaves_nothing_under_the_name(method, tmp_path):
    # given: a process that dies when its bytes are on disk and not yet in place
    code = (
        "os.link = lambda *a: os._exit(9)\nPath.replace = lambda *a: os._exit(9)\n"
        f"store.backend.{method}('fits/ab/key.json', b'half')"
    )
    process = python(code, str(tmp_path))
    assert process.wait(30) == 9
    process.communicate()
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) == 1 and left[0].startswith(".new-"), "the crash came too early or too late"
    assert [(entry.name, entry.size) for entry in LocalBackend(tmp_path).torn()] == [(f"fits/ab/{left[0]}", 4)]

    # when
    backend = LocalBackend(tmp_path)

    # then
    assert backend.read("fits/ab/key.json") is None
    assert names(backend) == []
    assert backend.create("fits/ab/key.json", b"whole")
    assert backend.read("fits/ab/key.json") == b"whole"


def test_a_write_that_fails_leaves_no_file_behind(tmp_path):
    backend = LocalBackend(tmp_path)
    (tmp_path / "a").mkdir()

    with pytest.raises(OSError, match="directory"):
        backend.write("a", b"over a folder")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_store_is_opened_at_a_path_or_a_file_uri(tmp_path):
    name = open_store(str(tmp_path / "deep" / "store")).put(b"content")

    assert open_store(f"file://{tmp_path}/deep/store").get(name) == b"content"


def test_entries_tell_the_size_and_how_long_something_was_not_touched(place, backend):
    backend.write("a/1", b"12345")
    backend.write("b/2", b"1")
    place.age("a/1", 100)

    (entry,) = backend.entries("a")

    assert (entry.name, entry.size) == ("a/1", 5)
    assert entry.idle == pytest.approx(100, abs=5)
    (same,) = (backend.entry(name) for name in ("a/1",))
    assert same is not None and (same.name, same.size) == ("a/1", 5)
    assert backend.entry("a/2") is None
    assert backend.touch("a/1")
    (entry,) = backend.entries("a")
    assert entry.idle < 5


def test_touching_a_missing_name_creates_nothing(backend):
    assert not backend.touch("a/1")
    assert list(backend.entries("")) == []


def test_only_idle_content_is_removed(place, backend):
    backend.write("a/1", b"1")
    place.age("a/1", 100)

    assert not backend.remove_idle("a/1", 200)
    assert backend.read("a/1") == b"1"
    assert backend.touch("a/1")
    assert not backend.remove_idle("a/1", 50)
    assert backend.remove_idle("a/1", 0)
    assert backend.read("a/1") is None
    assert not backend.remove_idle("a/1", 0)


def test_concurrent_touch_and_removal_give_a_consistent_result(place, backend):
    for i in range(25):
        backend.write(f"a/{i}", b"1")
        place.age(f"a/{i}", 100)
        barrier, removed = threading.Barrier(2), []

        def remove(i: int = i, barrier=barrier, removed=removed) -> None:
            barrier.wait()
            removed.append(backend.remove_idle(f"a/{i}", 50))

        thread = threading.Thread(target=remove)
        thread.start()
        barrier.wait()
        touched = backend.touch(f"a/{i}")
        thread.join()

        assert touched != removed[0]
        assert (backend.read(f"a/{i}") is not None) == touched


def test_using_an_item_reads_it_and_renews_its_age(place, backend):
    backend.write("a/b", b"content")
    place.age("a/b", 500)

    assert backend.use("a/b") == b"content"

    entry = backend.entry("a/b")
    assert entry is not None and entry.idle < 60
    assert backend.use("missing") is None and backend.pieces("missing") is None
