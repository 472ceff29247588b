"""Decoding in tasks on Ray: once per file, also for machines that share no folder with the driver."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quorate.data import decoding
from quorate.data.cache import node_cache
from quorate.data.decoding import Decoding, open_pictures
from quorate.data.images import read_image
from quorate.errors import UserError
from quorate.execution.node_waits import NoNodeError
from quorate.execution.ray.decoding import RayDecoder
from quorate.execution.ray.executor import RayExecutor
from quorate.execution.ray.nodes import Nodes

HOW = Decoding((8, 8, 3), None)


@pytest.fixture
def files(tmp_path, monkeypatch) -> list[Path]:
    """Seven pictures, each of which becomes a shard, and one file that is none; the driver has an empty cache."""
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "_SHARD", 1)
    rng = np.random.default_rng(os.getpid())  # so that the workers have not seen them
    paths = [tmp_path / f"{i}.png" for i in range(8)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (10, 12, 3)).astype(np.uint8)).save(path)
    paths[3].write_bytes(rng.bytes(20))
    return paths


@pytest.mark.system
@pytest.mark.usefixtures("ray_session")
def test_workers_decode_for_a_driver_with_another_cache_and_get_its_shards(files, monkeypatch):
    import ray

    # when: the workers have the cache of the test session, as other machines would; the driver decodes nothing
    decoder = RayDecoder(own=False)
    monkeypatch.setattr(decoding, "decode_image", None)
    found = open_pictures(files, HOW, decoder, in_memory=1 << 20)

    # then
    assert found.errors == [f"{files[3]}: not a JPEG, PNG, WebP, BMP, TIFF, GIF, PNM, AVIF or JPEG 2000 picture"]
    expected = np.stack([read_image(path, shape=HOW.shape) for i, path in enumerate(files) if i != 3])
    np.testing.assert_array_equal(found.images.take(np.arange(7)), expected)

    # when: a worker whose cache is empty takes rows, twice
    @ray.remote
    def take(images, cache):
        os.environ["QUORATE_CACHE"] = cache
        rows = images.take(np.array([5, 0]))
        own = node_cache().folder / "images"
        return rows, sorted(path.name for path in own.iterdir())

    images = ray.put(found.images)
    there = str(files[0].parent / "there")
    rows, names = ray.get(take.remote(images, there))

    # then: it has fetched the two shards of these rows
    np.testing.assert_array_equal(rows, expected[[5, 0]])
    assert names == sorted(Path(found.images.shards[i].name).name for i in (5, 0))


@pytest.mark.system
@pytest.mark.usefixtures("ray_session")
def test_an_error_of_a_decoding_task_is_the_error_of_the_driver(files):
    (batch, *_) = decoding._batches(files[:1], [b"0" * 32], [1], HOW, keep=True)

    with pytest.raises(UserError, match=r"0\.png was changed while the data were opened"):
        RayDecoder(own=True).decode([batch])


@pytest.mark.system
@pytest.mark.usefixtures("ray_session")
def test_the_files_that_are_on_their_way_have_a_limit_in_bytes(files, monkeypatch):
    import ray

    # given: room for the files of two pictures
    contents = [path.read_bytes() for path in files]
    sums = [hashlib.sha256(content).digest() for content in contents]
    batches = list(decoding._batches(files, sums, [*map(len, contents)], HOW, keep=True))
    wait, at_once = ray.wait, []

    def counted(tasks, **rest):
        at_once.append(len(tasks))
        return wait(tasks, **rest)

    monkeypatch.setattr(ray, "wait", counted)
    monkeypatch.setattr("quorate.execution.ray.decoding._PER_CPU", 100)
    monkeypatch.setattr("quorate.execution.ray.decoding._room_for_files", lambda: len(contents[0]) + 1)

    # when
    corrupt = RayDecoder(own=False).decode(batches)

    # then
    assert max(at_once) <= 3, "the corrupt file is small"
    assert [sorted(one) for one in corrupt] == [[], [], [], [0], [], [], [], []]


def test_a_batch_reserves_memory_for_its_files_its_pixels_and_its_largest_picture(files, monkeypatch):
    """A photograph of 8 MB takes 20 times as much when it is decoded, but at most four bytes for each of the largest
    number of pixels."""
    process = decoding.DECODING_PROCESS
    monkeypatch.setattr(Nodes, "most_memory", lambda self, resources: 1 << 30)

    def reserved(*sizes: int) -> int:
        paths, sums = files[: len(sizes)], [b"0" * 32] * len(sizes)
        monkeypatch.setattr(decoding, "_SHARD", 1 << 40)
        (batch,) = decoding._batches(paths, sums, sizes, HOW, keep=True)
        return RayDecoder(own=True)._reserved(batch)

    assert reserved(8_000_000, 5) == process + 8_000_005 + 2 * 2 * 8 * 8 * 3 + 160_000_000
    assert reserved(100_000_000) == process + 100_000_000 + 2 * 192 + 4 * 178_956_970
    assert reserved(500_000_000) == 1 << 30, "no more than the largest node has"


def test_a_cluster_without_a_core_that_cannot_grow_is_an_error(monkeypatch):
    monkeypatch.setattr(RayExecutor, "wait_for", lambda self, resources: False)

    with pytest.raises(NoNodeError, match="pictures cannot be decoded, because no node of the cluster has a core"):
        RayExecutor(own=False).decode([])
