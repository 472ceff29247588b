"""Finished work is verified, committed once, and repeated if it is damaged."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from pathlib import Path

import pytest
from tests.store.contents import KEY, flip_a_bit, names, python

from quorate.store import Damaged, Store
from quorate.store.backend import PIECE


def test_a_blob_is_named_by_its_content(store, backend):
    name = store.put(b"content")

    assert store.put(b"content") == name
    assert store.get(name) == b"content"
    assert names(backend, "blobs") == [f"blobs/{name[:2]}/{name}"]


def test_a_flipped_bit_is_detected_and_the_blob_is_set_aside(store, backend):
    # given
    name = store.put(b"content")
    flip_a_bit(backend, f"blobs/{name[:2]}/{name}")

    # when, then
    with pytest.raises(Damaged, match="does not match its SHA-256"):
        store.get(name)
    assert backend.read(f"damaged/{name}") is not None
    with pytest.raises(Damaged, match="is missing"):
        store.get(name)
    store.put(b"content")
    assert store.get(name) == b"content"


@pytest.mark.parametrize("size", [0, 1, 15, 16, 20, PIECE - 1, PIECE, PIECE + 7, 2 * PIECE])
def test_a_blob_is_copied_to_a_file_and_verified_in_pieces(size, store, tmp_path):
    content = random.Random(size).randbytes(size)
    name = store.put(content)

    store.copy(name, tmp_path / "copy")
    store.verify(name)

    assert (tmp_path / "copy").read_bytes() == content
    assert b"".join(store.backend.pieces(f"blobs/{name[:2]}/{name}")) == content


@pytest.mark.parametrize("size", [0, PIECE, PIECE + 7, 2 * PIECE])
def test_a_file_becomes_the_same_blob_as_its_content(size, store, backend, tmp_path):
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    file = tmp_path / "file"
    file.write_bytes(content)

    name = store.put_file(file)

    assert name == hashlib.sha256(content).hexdigest()
    assert store.get(name) == content
    assert store.put_file(file) == store.put(content) == name
    flip_a_bit(backend, f"blobs/{name[:2]}/{name}") if size else backend.remove(f"blobs/{name[:2]}/{name}")
    assert store.put_file(file) == name
    assert store.get(name) == content, "a damaged one is repaired"


def test_a_blob_for_a_manifest_is_discarded_unless_the_manifest_names_it(store, backend):
    kept, other = store.put(b"kept"), store.put(b"other")
    store.replace("checkpoints", KEY, {"state": kept})

    store.discard("checkpoints", KEY, kept)
    store.discard("checkpoints", KEY, other)
    store.discard("checkpoints", KEY, other)

    assert {Path(name).name for name in names(backend, "blobs")} == {kept}


def test_a_damaged_blob_is_not_copied_and_is_set_aside(store, backend, tmp_path):
    missing, changed = "0" * 64, store.put(b"content")
    flip_a_bit(backend, f"blobs/{changed[:2]}/{changed}")

    for name, problem in ((missing, "is missing"), (changed, "does not match its SHA-256"), (changed, "is missing")):
        with pytest.raises(Damaged, match=problem):
            store.copy(name, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
        with pytest.raises(Damaged):
            store.verify(name)

    assert backend.read(f"damaged/{changed}") is not None


def test_putting_a_blob_again_repairs_a_damaged_one(store, backend):
    name = store.put(b"content")
    flip_a_bit(backend, f"blobs/{name[:2]}/{name}")

    store.put(b"content")

    assert store.get(name) == b"content"


def test_the_first_commit_stays(store):
    assert store.find("fits", KEY) is None
    assert store.commit("fits", KEY, {"who": "first"}) == {"who": "first"}
    assert store.commit("fits", KEY, {"who": "second"}) == {"who": "first"}
    assert store.find("fits", KEY) == {"who": "first"}
    assert list(store.keys("fits")) == [KEY]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"body": {"who": "x"}}', b'{"body": {"who": "x"}, "sha256": "0"}']
)
def test_a_damaged_manifest_is_set_aside_and_its_place_is_free(damage, store, backend):
    store.commit("fits", KEY, {"who": "first"})
    backend.write(f"fits/{KEY[:2]}/{KEY}.json", damage)

    assert store.find("fits", KEY) is None
    assert backend.read(f"damaged/fits-{KEY}.json") == damage
    assert store.commit("fits", KEY, {"who": "second"}) == {"who": "second"}


def test_a_commit_replaces_a_damaged_manifest(store, backend):
    store.commit("fits", KEY, {"who": "first"})
    flip_a_bit(backend, f"fits/{KEY[:2]}/{KEY}.json")

    assert store.commit("fits", KEY, {"who": "second"}) == {"who": "second"}
    assert store.find("fits", KEY) == {"who": "second"}


def test_of_two_concurrent_commits_in_threads_one_wins_and_both_get_it(backend):
    for i in range(20):
        barrier, found = threading.Barrier(2), {}

        def commit(who: int, key: str = f"{i:064}", barrier=barrier, found=found) -> None:
            barrier.wait()
            found[who] = Store(backend).commit("fits", key, {"who": who})

        threads = [threading.Thread(target=commit, args=(who,)) for who in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert found[1] == found[2] == Store(backend).find("fits", f"{i:064}")


def test_of_two_concurrent_commits_in_processes_one_wins_and_both_get_it(place):
    code = (
        "while time.time() < float(sys.argv[2]): pass\n"
        "print([store.commit('fits', f'{i:064}', {'who': os.getpid()})['who'] for i in range(50)])"
    )
    start = str(time.time() + 1.0)

    both = [python(code, place.address, start) for _ in range(2)]
    first, second = (process.communicate(timeout=30)[0] for process in both)

    assert first == second
    assert set(json.loads(first)) <= {process.pid for process in both}


def test_replacing_a_checkpoint_drops_what_only_the_old_one_named(store, backend):
    kept, old, new = (store.put(content) for content in (b"kept", b"old", b"new"))
    store.replace("checkpoints", KEY, {"a": kept, "b": old})

    store.replace("checkpoints", KEY, {"a": kept, "b": new})

    assert store.find("checkpoints", KEY) == {"a": kept, "b": new}
    assert {Path(name).name for name in names(backend, "blobs")} == {kept, new}
    store.drop("checkpoints", KEY)
    store.drop("checkpoints", KEY)
    assert store.find("checkpoints", KEY) is None
    assert names(backend, "blobs") == []
