"""Picture files are decoded once per content, settings and decoder, into shards that every process maps."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quorate.data import decoding
from quorate.data.cache import FileCache, node_cache
from quorate.data.dataset import ArrayImages, FileImages
from quorate.data.decoding import Decoding, Pictures, ThreadDecoder, decode_batch, open_pictures
from quorate.data.images import decode_image, read_image
from quorate.data.shards import ShardedImages, ShardError, map_shard
from quorate.errors import UserError

HOW = Decoding((8, 8, 3), None)
PLATFORM = Path(__file__).parents[2] / "platform"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Seven pictures of 12 x 10 pixels."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(7)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (10, 12, 3)).astype(np.uint8)).save(path)
    return paths


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of one picture."""
    monkeypatch.setattr(decoding, "_SHARD", 1)


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """The sizes of the files that were decoded, in order."""
    sizes: list[int] = []

    def counted(data, **rest):
        sizes.append(len(data))
        return decode_image(data, **rest)

    monkeypatch.setattr(decoding, "decode_image", counted)
    return sizes


def opened(files, how: Decoding = HOW, *, in_memory: int = 1 << 20) -> Pictures:
    return open_pictures(files, how, ThreadDecoder(), in_memory=in_memory)


def pixels_of(files) -> np.ndarray:
    return np.stack([read_image(path, shape=(8, 8, 3)) for path in files])


def all_of(images) -> np.ndarray:
    return images.take(np.arange(len(images)))


@pytest.mark.usefixtures("small_shards")
def test_the_rows_of_several_shards_are_those_of_the_files(files):
    found = opened(files)

    assert isinstance(found.images, ShardedImages)
    assert [shard.rows for shard in found.images.shards] == [1] * 7
    expected = pixels_of(files)
    np.testing.assert_array_equal(all_of(found.images), expected)
    rows = np.array([6, 0, 3, 3, 2])
    np.testing.assert_array_equal(found.images.take(rows), expected[rows])
    np.testing.assert_array_equal(found.images.subset(rows).take(np.array([1, 0])), expected[[0, 6]])
    assert found.images.take(np.arange(0)).shape == (0, 8, 8, 3)
    assert found.images.names == tuple(path.name for path in files)


@pytest.mark.usefixtures("small_shards")
def test_the_digest_is_that_of_the_same_pixels_in_memory_or_of_the_files(files):
    assert opened(files).images.digest() == ArrayImages(pixels_of(files)).digest()
    assert opened(files, in_memory=0).images.digest() != ArrayImages(pixels_of(files)).digest()


@pytest.mark.usefixtures("small_shards")
def test_a_second_opening_decodes_only_what_has_changed(files, decoded):
    opened(files)
    assert len(decoded) == 7
    decoded.clear()

    opened(files)
    opened([*map(Path, map(os.path.relpath, files))])  # the same content under other paths
    assert decoded == []

    Image.new("RGB", (12, 10), "red").save(files[4])
    found = opened(files)
    assert len(decoded) == 1, "the shard of the changed file"
    np.testing.assert_array_equal(all_of(found.images), pixels_of(files))


@pytest.mark.parametrize("number", [0, 100, 200])
def test_a_file_more_changes_few_of_the_shards(tmp_path, decoded, monkeypatch, number):
    # given: 200 files in shards of usually 8 and at most 16
    monkeypatch.setattr(decoding, "_SHARD", 8 * 8 * 8 * 3)
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.pgm" for i in range(201)]
    for path in paths:
        path.write_bytes(b"P5 4 4 255\n" + rng.bytes(16))
    first = opened([path for i, path in enumerate(paths) if i != number])
    assert 200 / 16 <= len(first.images.shards) <= 50
    assert len(decoded) == 200
    decoded.clear()

    # when
    more = opened(paths)

    # then
    assert 1 <= len(decoded) <= 48
    np.testing.assert_array_equal(all_of(more.images), pixels_of(paths))


def test_other_settings_and_another_decoder_give_other_shards(files, decoded, monkeypatch):
    opened(files)
    for how in (Decoding((8, 8, 1), None), Decoding((8, 8, 3), 9)):
        decoded.clear()
        opened(files, how)
        assert len(decoded) == 7

    decoded.clear()
    monkeypatch.setattr(decoding, "DECODER", "2, Pillow 99")
    opened(files)
    assert len(decoded) == 7


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_corrupt_files_are_named_with_their_reasons_and_have_no_row(files, decoded, in_memory):
    # given: shards without any picture
    for i in (0, 1, 2, 4):
        files[i].write_bytes(b"not a picture")

    for _ in range(2):  # the second time without decoding
        found = opened(files, in_memory=in_memory)

        assert found.kept == [3, 5, 6]
        reason = "not a JPEG, PNG, WebP, BMP, TIFF, GIF, PNM, AVIF or JPEG 2000 picture"
        assert found.errors == [f"{files[i]}: {reason}" for i in (0, 1, 2, 4)]
        np.testing.assert_array_equal(all_of(found.images), pixels_of([files[i] for i in found.kept]))
    assert len(decoded) == 7
    assert opened(files).images.digest() == ArrayImages(pixels_of([files[i] for i in found.kept])).digest()


def test_a_file_that_cannot_be_read_is_named_like_a_corrupt_one(files):
    files[2].unlink()

    found = opened(files)

    assert found.kept == [0, 1, 3, 4, 5, 6]
    assert found.errors == [f"{files[2]}: [Errno 2] No such file or directory: '{files[2]}'"]


@pytest.mark.usefixtures("small_shards")
def test_a_shard_that_is_lost_is_decoded_again(files, decoded):
    found = opened(files)
    expected = all_of(found.images)
    (node_cache().folder / found.images.shards[1].name).unlink()
    decoded.clear()

    again = opened(files)

    assert len(decoded) == 1
    np.testing.assert_array_equal(all_of(again.images), expected)


@pytest.mark.parametrize(("ending", "left"), [("npy", 0), ("npy", 10), ("npy", 130), ("json", 0), ("json", 10)])
def test_a_file_of_the_cache_that_a_fault_has_cut_off_is_made_again(files, decoded, ending, left):
    first = opened(files)
    (cut, *_) = sorted((node_cache().folder / "images").glob(f"*.{ending}"))
    cut.write_bytes(cut.read_bytes()[:left])
    decoded.clear()
    del first

    again = opened(files)

    assert sum(decoded) > 0
    np.testing.assert_array_equal(all_of(again.images), pixels_of(files))


def test_pictures_that_do_not_fit_are_decoded_when_they_are_read(files, decoded, monkeypatch):
    monkeypatch.setenv("QUORATE_CACHE_SIZE", "1K")

    found = opened(files, in_memory=0)
    assert isinstance(found.images, FileImages)
    assert found.uncached == "the cache has no room for the decoded pictures (1.3 KiB); set QUORATE_CACHE_SIZE to more"
    assert len(decoded) == 7, "they were checked"
    assert opened(files, in_memory=0).images.digest() == found.images.digest()

    assert len(decoded) == 7, "the result of the check is kept"
    np.testing.assert_array_equal(all_of(found.images), pixels_of(files))


def test_a_file_that_changes_while_it_is_opened_is_refused(files):
    (batch,) = decoding._batches(files, [b"0" * 32] * 7, [1] * 7, HOW, keep=True)

    with pytest.raises(UserError, match=r"0\.png was changed while the data were opened"):
        decode_batch(batch, [path.read_bytes() for path in files])


def test_a_file_that_is_removed_while_it_is_opened_is_refused(files):
    (batch,) = decoding._batches(files, [b"0" * 32] * 7, [1] * 7, HOW, keep=True)
    files[2].unlink()

    with pytest.raises(
        UserError, match=r"2\.png cannot be read any more \(No such file or directory\): it was changed"
    ):
        ThreadDecoder().decode([batch])


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
@pytest.mark.parametrize("cache", ["/proc/nowhere", "~nobody-of-this-name/cache"])
def test_pictures_can_be_opened_where_the_cache_cannot_be_used(files, monkeypatch, cache, in_memory):
    digest = opened(files, in_memory=in_memory).images.digest()
    files.append(files[0].with_name("bad.png"))
    files[-1].write_bytes(b"not a picture")
    monkeypatch.setenv("QUORATE_CACHE", cache)

    found = opened(files, in_memory=in_memory)

    assert found.kept == list(range(7)) and len(found.errors) == 1
    assert found.images.digest() == digest, "the cache moves no key"
    np.testing.assert_array_equal(all_of(found.images), pixels_of(files[:7]))
    assert "cannot be used: " in found.uncached and "set QUORATE_CACHE" in found.uncached


@pytest.mark.parametrize("keeps", [0, 3])
def test_pictures_are_decoded_without_the_cache_when_its_disk_is_full(files, monkeypatch, keeps):
    monkeypatch.setattr(decoding, "_SHARD", 1)
    left = [keeps]

    def add(cache, name, parts, size):
        if not left[0]:
            raise cache._unusable(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        left[0] -= 1

    monkeypatch.setattr(FileCache, "add", add)

    found = opened(files)

    np.testing.assert_array_equal(all_of(found.images), pixels_of(files))
    assert "cannot be used: No space left on device" in found.uncached


@pytest.mark.usefixtures("small_shards")
def test_a_pickle_has_no_pixels_and_maps_the_same_shards(files):
    images = opened(files).images
    expected = all_of(images)

    content = pickle.dumps(images)

    assert len(content) < 2000
    assert expected[0].tobytes() not in content
    np.testing.assert_array_equal(all_of(pickle.loads(content)), expected)


@pytest.mark.usefixtures("small_shards")
def test_another_machine_fetches_each_shard_once(files, tmp_path, monkeypatch):
    # given: the images, and a machine with an empty cache
    images = opened(files).images
    expected, home, fetched = all_of(images), node_cache(), []

    class Source:
        def fetch(self, name):
            fetched.append(name)
            return memoryview(home.read(name))

    there = ShardedImages(images.shape, images.shards, images.content, images.names, Source())
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "there"))

    # when, then
    np.testing.assert_array_equal(all_of(there), expected)
    np.testing.assert_array_equal(all_of(pickle.loads(pickle.dumps(images.__class__(**vars_of(there))))), expected)
    assert fetched == [shard.name for shard in images.shards]

    # when the cache there has no room, then the shards are fetched for each access and nothing is kept
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "tiny"))
    monkeypatch.setenv("QUORATE_CACHE_SIZE", "10")
    small = ShardedImages(images.shape, images.shards, images.content, images.names, Source())
    for _ in range(2):
        np.testing.assert_array_equal(small.take(np.array([6, 0])), expected[[6, 0]])
    assert len(fetched) == 7 + 4


@pytest.mark.parametrize("cache", ["/proc/nowhere", "~nobody-of-this-name/cache"])
def test_a_machine_whose_cache_cannot_be_used_takes_each_shard_from_the_driver(files, monkeypatch, cache):
    images = opened(files).images
    expected, home = all_of(images), node_cache()

    class Source:
        def fetch(self, name):
            return memoryview(home.read(name))

    there = ShardedImages(**vars_of(images), source=Source())
    monkeypatch.setenv("QUORATE_CACHE", cache)

    np.testing.assert_array_equal(all_of(there), expected)


def vars_of(images: ShardedImages) -> dict:
    return {name: getattr(images, name) for name in ("shape", "shards", "content", "names")}


def test_shards_that_are_gone_are_an_error_with_its_fix(files, tmp_path, monkeypatch):
    images = pickle.loads(pickle.dumps(opened(files).images))
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "there"))

    with pytest.raises(ShardError, match=r"are no longer in the cache .*there/files; start the job again"):
        images.take(np.array([0]))


def test_mapped_pixels_cannot_be_written(files):
    images = opened(files).images

    pixels = map_shard(node_cache(), images.shards[0].name)

    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0, 0, 0] = 1


def test_the_shards_of_images_in_use_are_not_evicted(files, monkeypatch):
    images = opened(files).images
    monkeypatch.setenv("QUORATE_CACHE_SIZE", "5600")  # they take 1472 bytes

    others = opened(files, Decoding((8, 8, 1), None))  # 448 bytes and 4096

    assert others.uncached is not None
    assert map_shard(node_cache(), images.shards[0].name) is not None
    del images, others
    assert opened(files, Decoding((8, 8, 1), None)).uncached is None, "nothing uses the first shard any more"


KILLED = """
import sys, time, pathlib
from quorate.data import decoding
decoding._SHARD = 1
keep = decoding.keep_batch
def slow(*given):
    keep(*given)
    print("kept", flush=True)
    time.sleep(60)
decoding.keep_batch = slow
class One(decoding.ThreadDecoder):
    def decode(self, batches):
        return super().decode(batches[:1]) + super().decode(batches[1:])
decoding.open_pictures(sorted(pathlib.Path(sys.argv[1]).glob("*.png")), decoding.Decoding((8, 8, 3), None), One(),
                       in_memory=0)
"""


@pytest.mark.usefixtures("small_shards")
def test_after_a_kill_the_shards_that_were_finished_are_not_decoded_again(files, decoded):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(files[0].parent)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PLATFORM)},
    )
    assert process.stdout.readline() == b"kept\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()

    began = time.monotonic()
    found = opened(files)

    assert len(decoded) == 6, "the first shard was finished"
    assert time.monotonic() - began < 10, "no lock is left"
    np.testing.assert_array_equal(all_of(found.images), pixels_of(files))
