"""Decode picture files once: in batches, each of which becomes a shard in the cache of this machine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL

from quorate.data.cache import SIZE, CacheError, CacheFull, node_cache
from quorate.data.dataset import ArrayImages, FileImages, Images, Pixels
from quorate.data.images import OWN, ImageError, decode_image
from quorate.data.shards import Shard, ShardedImages, ShardSource, map_shard, pack_shard
from quorate.errors import UserError
from quorate.quantities import format_bytes

DECODER = f"1, Pillow {PIL.__version__}"
"""The version of the decoder. The number changes when `decode_image` gives other pixels for the same file."""

_SHARD = 8 << 20
"""Usual size in bytes of a shard, or of its files if they are larger: several tasks even for small data. An assumption,
not a measurement."""
_SHARDS = 128
"""Usual number of shards of large data, because a process keeps a file handle for each. An assumption."""
_EXTRA = 4096
"""Bytes of a batch in the cache besides the pixels: a header and the list of corrupt files. An assumption."""

DECODING_PROCESS = 150 << 20
"""Bytes of a process before it decodes. An assumption, not a measurement."""
_FULL, _CHANNELS = 20, 4
"""Bytes of a decoded picture relative to those of its file (an assumption, as for a photograph in JPEG), and at most
per pixel."""


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
    sizes: tuple[int, ...]
    """The size of each file in bytes."""
    how: Decoding
    keep: bool
    """Whether to keep the pixels; if not, the files are only checked."""

    @property
    def memory(self) -> int:
        """Estimated bytes of a process that decodes it: its files, its pixels twice (one copy is written or sent), and
        the largest picture at its full size."""
        pixels = len(self.paths) * int(np.prod(self.how.shape)) if self.keep else 0
        largest = min(_FULL * max(self.sizes), _CHANNELS * OWN.max_pixels)
        return DECODING_PROCESS + sum(self.sizes) + 2 * pixels + largest

    @property
    def shard(self) -> str:
        """The name of the pixels in the cache."""
        return f"images/{self.name}.npy"

    @property
    def record(self) -> str:
        """The name of the list of corrupt files in the cache, which is written last."""
        return f"images/{self.name}.json"


Corrupt = dict[int, str]
"""The reasons why files of a batch cannot be decoded, by their position in it."""


class Decoder(Protocol):
    """Decodes batches somewhere."""

    def decode(self, batches: Sequence[DecodingBatch]) -> list[Corrupt]:
        """Decode batches; afterwards their shards are in the cache of this machine.

        Returns the corrupt files of each. Raises `CacheError` if a shard cannot be kept.
        """

    def share(self, batches: Sequence[DecodingBatch]) -> ShardSource | None:
        """Let the workers get the shards of these batches, which are in the cache of this machine.

        Returns where from; None if the workers share this cache.
        """


class ThreadDecoder:
    """Decodes in threads of this process."""

    def decode(self, batches: Sequence[DecodingBatch]) -> list[Corrupt]:
        def one(batch: DecodingBatch) -> Corrupt:
            pixels, corrupt = decode_batch(batch, read_files(batch))
            keep_batch(batch, pixels, corrupt)
            return corrupt

        with ThreadPoolExecutor() as pool:
            return list(pool.map(one, batches))

    def share(self, batches: Sequence[DecodingBatch]) -> ShardSource | None:
        return None


@dataclass(frozen=True)
class Pictures:
    """The pictures among some files."""

    images: Images
    kept: list[int]
    """The position of each picture in the files."""
    errors: list[str]
    """One for each file that cannot be decoded."""
    uncached: str | None
    """Why they are not in the cache; then they are decoded again in each job or for each batch."""


def open_pictures(paths: Sequence[Path], how: Decoding, decoder: Decoder, *, in_memory: int) -> Pictures:
    """Decode files, unless they were decoded before.

    The digest is that of the pixels, or if these have more than `in_memory` bytes that of the files. Pictures that
    cannot be kept in the cache are kept in memory up to `in_memory` bytes, otherwise decoded whenever they are read.
    """
    try:
        return _open(paths, how, decoder, in_memory, None)
    except CacheError as error:
        return _open(paths, how, decoder, in_memory, str(error))


def _open(paths: Sequence[Path], how: Decoding, decoder: Decoder, in_memory: int, uncached: str | None) -> Pictures:
    """Open pictures; raises `CacheError` if they cannot be kept in the cache, unless they are `uncached`."""
    sums, sizes, wrong = _sums(paths)
    readable = [i for i in range(len(paths)) if i not in wrong]
    given = [paths[i] for i in readable], [sums[i] for i in readable], [sizes[i] for i in readable], how
    batches, size = list(_batches(*given, keep=uncached is None)), len(paths) * int(np.prod(how.shape))
    if uncached is None and size + _EXTRA * len(batches) > node_cache().room(batch.shard for batch in batches):
        raise CacheFull(f"the cache has no room for the decoded pictures ({format_bytes(size)}); set {SIZE} to more")
    shards, begin = [], 0
    for batch, corrupt in zip(batches, _decoded(batches, decoder), strict=True):
        wrong |= {readable[begin + i]: reason for i, reason in corrupt.items()}
        begin += len(batch.paths)
        if len(batch.paths) > len(corrupt):
            shards.append(Shard(batch.shard, len(batch.paths) - len(corrupt)))
    kept = [i for i in range(len(paths)) if i not in wrong]
    chosen, content = [paths[i] for i in kept], _digest_of_files(how, [sums[i] for i in kept])
    images: Images = FileImages(chosen, how.shape, how.resize, content)
    if uncached is None:
        names = tuple(path.name for path in chosen)
        mapped = ShardedImages(how.shape, tuple(shards), content, names, decoder.share(batches))
        mapped = mapped if size > in_memory else replace(mapped, content=_digest_of_pixels(mapped))
        mapped.hold()
        images = mapped
    elif size <= in_memory and kept:
        images = ArrayImages(images.take(np.arange(len(images))))
    return Pictures(images, kept, [f"{paths[i]}: {wrong[i]}" for i in sorted(wrong)], uncached)


def _decoded(batches: Sequence[DecodingBatch], decoder: Decoder) -> list[Corrupt]:
    """Decode batches, unless they were decoded before; return the corrupt files of each."""
    known = [decoded_before(batch) for batch in batches]
    missing = [batch for batch, corrupt in zip(batches, known, strict=True) if corrupt is None]
    new = iter(decoder.decode(missing) if missing else ())
    return [next(new) if corrupt is None else corrupt for corrupt in known]


def read_files(batch: DecodingBatch) -> list[bytes]:
    """Return the contents of the files; raises `UserError` if one cannot be read any more."""
    try:
        return [path.read_bytes() for path in batch.paths]
    except OSError as error:
        raise UserError(
            f"{error.filename} cannot be read any more ({error.strerror}): it was changed while the data were opened; "
            "start again when it stays as it is"
        ) from None


def decode_batch(batch: DecodingBatch, contents: Sequence[bytes]) -> tuple[Pixels, Corrupt]:
    """Decode files; return the pixels of those that can be decoded, and the reasons for the others by their position.

    Without `keep`, no pixels are returned. Raises `UserError` if a file has changed since it was hashed.
    """
    shape, resize = batch.how.shape, batch.how.resize
    pixels: Pixels = np.empty((len(contents) if batch.keep else 0, *shape), np.uint8)
    corrupt: Corrupt = {}
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


def keep_batch(batch: DecodingBatch, pixels: Pixels, corrupt: Corrupt) -> None:
    """Write the shard and then the record of a decoded batch; raises `CacheError` if the shard cannot be kept."""
    record = json.dumps({"corrupt": {str(i): reason for i, reason in corrupt.items()}}).encode()
    try:
        cache = node_cache()
        if len(pixels):
            parts = pack_shard(pixels)
            cache.add(batch.shard, parts, sum(map(len, parts)))
        cache.add(batch.record, [record], len(record))
    except CacheError:
        if batch.keep:
            raise  # without pixels, only the next job misses the record


def _sums(paths: Sequence[Path]) -> tuple[list[bytes], list[int], dict[int, str]]:
    """Return the SHA-256 and the size of each file, and the reasons why some cannot be read, by their position."""
    unreadable: dict[int, str] = {}

    def digest(i: int) -> tuple[bytes, int]:
        try:
            with paths[i].open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest(), os.fstat(file.fileno()).st_size
        except OSError as error:
            unreadable[i] = str(error)
            return b"", 0

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(digest, range(len(paths))))
    return [content for content, _ in found], [size for _, size in found], unreadable


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
            part = slice(begin, i + 1)
            yield DecodingBatch(name, tuple(paths[part]), own, tuple(sizes[part]), how, keep)
            begin, held = i + 1, 0


def decoded_before(batch: DecodingBatch) -> Corrupt | None:
    """Return the corrupt files of a batch that was decoded before; None if the cache lacks it, or has only a part."""
    try:
        cache = node_cache()
        content = cache.read(batch.record)
        if content is None:
            return None
        try:
            corrupt = {int(i): reason for i, reason in json.loads(content)["corrupt"].items()}
        except ValueError:  # damaged by a fault of the disk
            return None
        is_whole = not batch.keep or len(corrupt) == len(batch.paths) or map_shard(cache, batch.shard) is not None
    except CacheError:
        if batch.keep:
            raise
        return None
    return corrupt if is_whole else None


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
