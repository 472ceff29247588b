"""Map decoded pictures from shards: files of uint8 pixels in the cache of this machine."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from quorate.data.cache import CacheError, FileCache, node_cache
from quorate.data.dataset import Pixels, Rows, Subsets
from quorate.errors import MachineError


class ShardError(MachineError):
    """A shard is not in the cache of this machine, and cannot be fetched."""


class ShardSource(Protocol):
    """Where a machine gets the shards that its cache lacks; can be pickled."""

    def fetch(self, name: str) -> memoryview:
        """Return the content of a shard; raises `ShardError`."""


@dataclass(frozen=True)
class Shard:
    """A file of the cache, and its number of pictures."""

    name: str
    rows: int


@dataclass(frozen=True, eq=False)
class ShardedImages(Subsets):
    """Pictures that were decoded once; all processes of a machine share the memory of their pixels.

    A pickle has the names of the shards, not the pixels. A process maps a shard when it first needs one of its rows.
    """

    shape: tuple[int, int, int]
    shards: tuple[Shard, ...]
    content: str = field(repr=False)
    """SHA-256 of the content; see `digest`."""
    names: tuple[str, ...] = field(repr=False)
    """The file name of each picture, for messages."""
    source: ShardSource | None = None
    """Where to get shards on another machine than that of the driver."""

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Rows) -> Pixels:
        pixels: Pixels = np.empty((len(rows), *self.shape), np.uint8)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        within = rows - self._starts[shards]
        for i, (shard, row) in enumerate(zip(shards.tolist(), within.tolist(), strict=True)):
            pixels[i] = self._mapped(shard)[row]  # without the copy of a fancy index
        return pixels

    def digest(self) -> str:
        return self.content

    def parts(self) -> Iterator[Pixels]:
        """Yield the pixels of each shard, in order; none is copied."""
        return (self._mapped(number) for number in range(len(self.shards)))

    def hold(self) -> None:
        """Map all shards now; they stay in the cache of this machine as long as this object exists."""
        for _ in self.parts():
            pass

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_maps", "_starts")}

    @cached_property
    def _maps(self) -> dict[int, Pixels]:
        """The mapped shards by their position."""
        return {}

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The position of the first row of each shard."""
        return np.cumsum([0, *(shard.rows for shard in self.shards[:-1])], dtype=np.int64)

    def _mapped(self, number: int) -> Pixels:
        found = self._maps.get(number)
        if found is not None:
            return found
        name, content = self.shards[number].name, None
        try:
            cache = node_cache()
            pixels = map_shard(cache, name)
            if pixels is None and self.source is not None:
                with cache.locked(name):  # by one process of this machine
                    pixels = map_shard(cache, name)
                    if pixels is None:
                        content = self.source.fetch(name)
                        cache.add(name, [content], len(content))
                        pixels = map_shard(cache, name)
        except CacheError:
            if self.source is None:
                raise
            return unpack_shard(content or self.source.fetch(name))  # it is fetched again for each batch
        if pixels is None:
            raise ShardError(
                f"the decoded pictures {name} are no longer in the cache {cache.folder}; start the job again"
            )
        self._maps[number] = pixels
        return pixels


def pack_shard(pixels: Pixels) -> tuple[bytes, memoryview]:
    """Return the header and the pixels of a shard, in the format of `.npy` files."""
    header = io.BytesIO()
    npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(pixels))
    return header.getvalue(), np.ascontiguousarray(pixels).data.cast("B")


def map_shard(cache: FileCache, name: str) -> Pixels | None:
    """Map a shard for reading; None if it is not in the cache, or not whole after a fault of the disk.

    The file stays in the cache while it is mapped.
    """
    file = cache.open(name)
    if file is None:
        return None
    with file:
        try:
            npy.read_magic(file)
            shape, _, dtype = npy.read_array_header_1_0(file)
            return np.asarray(np.memmap(file, dtype, "r", file.tell(), shape))
        except ValueError:  # it is shorter than its header says
            return None


def unpack_shard(content: memoryview) -> Pixels:
    """Return the pixels of a shard in memory, without a copy."""
    header = io.BytesIO(content[:1024])
    npy.read_magic(header)
    shape, _, dtype = npy.read_array_header_1_0(header)
    return np.frombuffer(content, dtype, offset=header.tell()).reshape(shape)
