"""Decode picture files once: in batches, each of which becomes a shard in the cache of this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL

from quorate.data.cache import FileCache, node_cache
from quorate.data.dataset import ArrayImages, FileImages, Images, Pixels
from quorate.data.images import OWN, ImageError, decode_image
from quorate.data.shards import Shard, ShardedImages, ShardSource, map_shard, pack_shard
from quorate.errors import UserError

DECODER = f"1, Pillow {PIL.__version__}"
"""The version of the decoder. The number changes when `decode_image` gives other pixels for the same file."""

_SHARD = 8 << 20
"""Usual size in bytes of a shard, or of its files if they are larger: several tasks even for small data. An assumption,
not a measurement."""
_SHARDS = 128
"""Usual number of shards of large data, because a process keeps a file handle for each. An assumption."""
_EXTRA = 4096
"""Bytes of a batch in the cache besides the pixels: a header and the list of corrupt files. An assumption."""


@dataclass(frozen=True)
class Decoding:
    """How files become pixels: the shape (H, W, C), and the shorter side before the crop."""

    shape: tuple[int, int, int]
    resize: int | None


@dataclass(frozen=True)
class DecodingBatch:
    """Files that are decoded together."""

    name: str
    """The hash of everything that determines the pixels."""
    paths: tuple[Path, ...]
    sums: tuple[bytes, ...]
    """SHA-256 of the content of each file."""
    how: Decoding
    keep: bool
    """Whether to keep the pixels; if not, the files are only checked."""

    @property
    def shard(self) -> str:
        """The name of the pixels in the cache."""
        return f"images/{self.name}.npy"

    @property
    def record(self) -> str:
        """The name of the list of corrupt files in the cache, which is written last."""
        return f"images/{self.name}.json"


class Decoder(Protocol):
    """Decodes batches somewhere."""

    def decode(self, batches: Sequence[DecodingBatch]) -> None:
        """Decode batches; afterwards their shards and records are in the cache of this machine."""

    def shard_source(self) -> ShardSource | None:
        """Return where the workers get shards from; None if they share the cache of this machine."""


class ThreadDecoder:
    """Decodes in threads of this process."""

    def decode(self, batches: Sequence[DecodingBatch]) -> None:
        cache = node_cache()

        def one(batch: DecodingBatch) -> None:
            keep_batch(cache, batch, *decode_batch(batch, [path.read_bytes() for path in batch.paths]))

        with ThreadPoolExecutor() as pool:
            for _ in pool.map(one, batches):
                pass

    def shard_source(self) -> ShardSource | None:
        return None


@dataclass(frozen=True)
class Pictures:
    """The pictures among some files."""

    images: Images
    kept: list[int]
    """The position of each picture in the files."""
    errors: list[str]
    """One for each file that cannot be decoded."""
    fits: bool
    """Whether they fit into the cache; if not, they are decoded again in each job or for each batch."""


def open_pictures(paths: Sequence[Path], how: Decoding, decoder: Decoder, *, in_memory: int) -> Pictures:
    """Decode files, unless they were decoded before.

    The digest is that of the pixels, or if these have more than `in_memory` bytes that of the files. Pictures that do
    not fit into the cache are kept in memory up to `in_memory` bytes, otherwise decoded whenever they are read.
    """
    cache = node_cache()
    sums, wrong = _sums(paths)
    readable = [i for i in range(len(paths)) if i not in wrong]
    sizes = [paths[i].stat().st_size for i in readable]
    given = [paths[i] for i in readable], [sums[i] for i in readable], sizes, how
    batches = list(_batches(*given, keep=True))
    size = len(paths) * int(np.prod(how.shape))
    fits = size + _EXTRA * len(batches) <= cache.room(batch.shard for batch in batches)
    if not fits:
        batches = list(_batches(*given, keep=False))
    if missing := [batch for batch in batches if not _is_done(cache, batch)]:
        decoder.decode(missing)
    shards, begin = [], 0
    for batch in batches:
        corrupt = _record(cache, batch)
        assert corrupt is not None, "the decoder has left it in the cache"
        wrong |= {readable[begin + i]: reason for i, reason in corrupt.items()}
        begin += len(batch.paths)
        if len(batch.paths) > len(corrupt):
            shards.append(Shard(batch.shard, len(batch.paths) - len(corrupt)))
    kept = [i for i in range(len(paths)) if i not in wrong]
    chosen, content = [paths[i] for i in kept], _digest_of_files(how, [sums[i] for i in kept])
    images: Images = FileImages(chosen, how.shape, how.resize, content)
    if fits:
        names = tuple(path.name for path in chosen)
        mapped = ShardedImages(how.shape, tuple(shards), content, names, decoder.shard_source())
        mapped = mapped if size > in_memory else replace(mapped, content=_digest_of_pixels(mapped))
        mapped.hold()
        images = mapped
    elif size <= in_memory and kept:
        images = ArrayImages(images.take(np.arange(len(images))))
    return Pictures(images, kept, [f"{paths[i]}: {wrong[i]}" for i in sorted(wrong)], fits)


def decode_batch(batch: DecodingBatch, contents: Sequence[bytes]) -> tuple[Pixels, dict[int, str]]:
    """Decode files; return the pixels of those that can be decoded, and the reasons for the others by their position.

    Without `keep`, no pixels are returned. Raises `UserError` if a file has changed since it was hashed.
    """
    shape, resize = batch.how.shape, batch.how.resize
    pixels: Pixels = np.empty((len(contents) if batch.keep else 0, *shape), np.uint8)
    corrupt: dict[int, str] = {}
    for i, (path, content) in enumerate(zip(batch.paths, contents, strict=True)):
        if hashlib.sha256(content).digest() != batch.sums[i]:
            raise UserError(f"{path} was changed while the data were opened; start again when it stays as it is")
        try:
            decoded = decode_image(content, shape=shape, resize=resize, accepted=OWN)
        except ImageError as error:
            corrupt[i] = str(error)
            continue
        if batch.keep:
            pixels[i - len(corrupt)] = decoded
    return pixels[: len(contents) - len(corrupt)], corrupt


def keep_batch(cache: FileCache, batch: DecodingBatch, pixels: Pixels, corrupt: dict[int, str]) -> None:
    """Write the shard and then the record of a decoded batch; raises `CacheError`."""
    if len(pixels):
        parts = pack_shard(pixels)
        cache.add(batch.shard, parts, sum(map(len, parts)))
    record = json.dumps({"corrupt": {str(i): reason for i, reason in corrupt.items()}}).encode()
    cache.add(batch.record, [record], len(record))


def _sums(paths: Sequence[Path]) -> tuple[list[bytes], dict[int, str]]:
    """Return the SHA-256 of each file, and the reasons why some cannot be read, by their position."""
    unreadable: dict[int, str] = {}

    def digest(i: int) -> bytes:
        try:
            with paths[i].open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            unreadable[i] = str(error)
            return b""

    with ThreadPoolExecutor() as pool:
        return list(pool.map(digest, range(len(paths)))), unreadable


def _batches(
    paths: Sequence[Path], sums: Sequence[bytes], sizes: Sequence[int], how: Decoding, *, keep: bool
) -> Iterator[DecodingBatch]:
    """Divide files into batches after files with certain hashes, so that a new file changes few of the batches."""
    each, files = int(np.prod(how.shape)), sum(sizes)
    usual = max(_SHARD, max(each * len(paths), files) // _SHARDS)
    rows = 1 << (max(1, usual // max(each, files // max(1, len(paths)))) - 1).bit_length()
    begin, held = 0, 0
    for i, size in enumerate(sizes):
        held += size
        ends = int.from_bytes(sums[i][:8]) % rows == 0 or i + 1 - begin == 2 * rows or held >= 4 * usual
        if ends or i + 1 == len(paths):
            own = tuple(sums[begin : i + 1])
            name = hashlib.sha256(repr((DECODER, how.shape, how.resize, keep)).encode() + b"".join(own)).hexdigest()
            yield DecodingBatch(name, tuple(paths[begin : i + 1]), own, how, keep)
            begin, held = i + 1, 0


def _is_done(cache: FileCache, batch: DecodingBatch) -> bool:
    corrupt = _record(cache, batch)
    if corrupt is None:
        return False
    return not batch.keep or len(corrupt) == len(batch.paths) or map_shard(cache, batch.shard) is not None


def _record(cache: FileCache, batch: DecodingBatch) -> dict[int, str] | None:
    """Return the reasons why files of a batch cannot be decoded; None if the batch has not been decoded."""
    content = cache.read(batch.record)
    return None if content is None else {int(i): reason for i, reason in json.loads(content)["corrupt"].items()}


def _digest_of_pixels(images: ShardedImages) -> str:
    """The digest of `ArrayImages` with these pixels."""
    content = hashlib.sha256(repr((len(images), *images.shape)).encode())
    for pixels in images.parts():
        content.update(pixels.data)
    return content.hexdigest()


def _digest_of_files(how: Decoding, sums: Sequence[bytes]) -> str:
    """The digest of `FileImages` with files of these sums."""
    content = hashlib.sha256(repr((how.shape, how.resize)).encode())
    for one in sums:
        content.update(one)
    return content.hexdigest()
