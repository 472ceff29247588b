"""Decoded pictures in the store: a machine whose cache is empty takes them from there and decodes nothing."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quorate.data import decoding
from quorate.data.cache import node_cache
from quorate.data.decoding import Decoding, DecodingBatch, ThreadDecoder, open_pictures
from quorate.data.images import read_image
from quorate.data.shards import ShardError, ShardSource
from quorate.data.stored_shards import SPACE, stored_shards
from quorate.store import Store, StoreUnavailable, open_store
from quorate.store.collection import RetentionRules, by_space, collect, take_inventory

HOW = Decoding((8, 8, 3), None)


class DriversMachine:
    """The shards of the driver's machine, for machines that do not reach the store."""

    def fetch(self, name: str) -> memoryview:
        raise ShardError(f"asked for {name}")


class ClusterDecoder(ThreadDecoder):
    """Counts the batches that it decodes; its workers have other caches."""

    def __init__(self) -> None:
        self.batches = 0

    def decode(self, batches):
        self.batches += len(batches)
        return super().decode(batches)

    def share(self, batches: list[DecodingBatch]) -> ShardSource:
        return DriversMachine()


@pytest.fixture
def files(tmp_path, monkeypatch) -> list[Path]:
    """Five pictures, each of which becomes a shard; the fourth is none."""
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "_SHARD", 1)
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (10, 12, 3)).astype(np.uint8)).save(path)
    paths[3].write_bytes(rng.bytes(20))
    return paths


@pytest.fixture
def store(tmp_path) -> Store:
    return open_store(str(tmp_path / "store"))


def opened(files, store, decoder, said=None):
    with stored_shards(decoder, store, (said if said is not None else []).append) as storing:
        return open_pictures(files, HOW, storing, in_memory=1 << 20)


def expected(files) -> np.ndarray:
    return np.stack([read_image(path, shape=HOW.shape) for i, path in enumerate(files) if i != 3])


def test_a_driver_with_an_empty_cache_decodes_only_what_the_store_lacks(files, store, tmp_path, monkeypatch):
    first, second = ClusterDecoder(), ClusterDecoder()

    before = opened(files[:4], store, first)
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "other"))
    after = opened(files, store, second)

    assert first.batches == 4
    assert second.batches == 2, "the new picture, and the corrupt file, which has no shard"
    np.testing.assert_array_equal(after.images.take(np.arange(4)), expected(files))
    assert before.errors == after.errors


def test_a_cache_that_was_filled_without_the_store_is_kept_there(files, store):
    open_pictures(files, HOW, ThreadDecoder(), in_memory=1 << 20)
    decoder = ClusterDecoder()

    opened(files, store, decoder)

    assert decoder.batches == 0
    assert len(list(store.keys(SPACE))) == 4


def test_a_worker_takes_shards_from_the_store_and_without_it_from_the_driver(files, store, tmp_path, monkeypatch):
    with stored_shards(ClusterDecoder(), store, print) as storing:
        images = open_pictures(files, HOW, storing, in_memory=1 << 20).images
        monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "other"))
        there = pickle.loads(pickle.dumps(images))
        np.testing.assert_array_equal(there.take(np.array([2, 0])), expected(files)[[2, 0]])
        assert len(list((node_cache().folder / "images").iterdir())) == 2, "only the shards of these rows"
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "third"))

    with pytest.raises(ShardError, match="asked for images/"):
        pickle.loads(pickle.dumps(images)).take(np.array([1]))  # the nonce is gone: this may be another store


def test_a_damaged_shard_is_decoded_again_and_kept_anew(files, store, tmp_path, monkeypatch):
    opened(files, store, ClusterDecoder())
    key = next(iter(store.keys(SPACE)))
    blob = store.find(SPACE, key)["shard"]
    (tmp_path / "store" / "blobs" / blob[:2] / blob).write_bytes(b"x")
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "other"))
    decoder = ClusterDecoder()

    found = opened(files, store, decoder)

    assert decoder.batches == 2, "the damaged one, and the corrupt file"
    np.testing.assert_array_equal(found.images.take(np.arange(4)), expected(files))
    assert store.get(store.find(SPACE, key)["shard"])


def test_a_store_that_cannot_be_written_is_said_and_the_driver_serves_the_shards(files, store, monkeypatch):
    said: list[str] = []

    def put(content: bytes) -> str:
        raise StoreUnavailable(28, "no space left on device", "the store")

    monkeypatch.setattr(store, "put", put)

    found = opened(files, store, ClusterDecoder(), said)

    assert isinstance(found.images.source, DriversMachine)
    assert len(said) == 1
    assert "the decoded pictures are not kept in the store: " in said[0]


def test_the_pictures_are_listed_and_collected(files, store):
    opened(files, store, ClusterDecoder())

    assert by_space(take_inventory(store))[SPACE].count == 4
    assert collect(store, RetentionRules(max_size=0)).shares == {}, "they were used within the last hour"
    for path in (Path(store.address)).rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 8000,) * 2)
    done = collect(store, RetentionRules(older_than=7200))
    assert done.shares[f"unused {SPACE}"].count == 4
    assert by_space(take_inventory(store))[SPACE].count == 0
