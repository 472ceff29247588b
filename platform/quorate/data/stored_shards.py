"""Keep decoded pictures in the store of a job, for machines whose cache lacks them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from quorate.data.cache import node_cache
from quorate.data.decoding import Corrupt, Decoder, DecodingBatch, decoded_before, keep_batch
from quorate.data.shards import ShardSource, unpack_shard
from quorate.store import Damaged, Store, reached, variables_of

SPACE = "pictures"
"""The space of the manifests: the blob of the shard, if it has pictures, and the reasons for the corrupt files."""

_AT_ONCE = 8
"""Shards that are on their way at the same time. An assumption, not a measurement."""


@contextlib.contextmanager
def stored_shards(decoder: Decoder, store: Store, say: Callable[[str], None]) -> Iterator[Decoder]:
    """A decoder that takes pictures from the store instead of decoding them again, and keeps there what it decodes.

    Workers that reach the store get shards from it, until the end of the context; others get them as from `decoder`.
    `say` shows a note if the store cannot be used.
    """
    with store.challenge() as nonce:
        yield _StoringDecoder(decoder, store, nonce, say)


class _StoringDecoder:
    def __init__(self, decoder: Decoder, store: Store, nonce: str, say: Callable[[str], None]) -> None:
        self._decoder, self._store, self._nonce, self._say = decoder, store, nonce, say

    def decode(self, batches: Sequence[DecodingBatch]) -> list[Corrupt]:
        try:
            found = self._each(self._take, batches)
        except OSError as error:
            self._say(f"decoded pictures cannot be read from the store, and are decoded again: {error}")
            found = [None] * len(batches)
        missing = [batch for batch, corrupt in zip(batches, found, strict=True) if corrupt is None]
        new = iter(self._decoder.decode(missing) if missing else ())
        return [next(new) if corrupt is None else corrupt for corrupt in found]

    def share(self, batches: Sequence[DecodingBatch]) -> ShardSource | None:
        """Keep the shards that the store lacks; the workers get them from there."""
        others = self._decoder.share(batches)
        try:
            self._each(self._keep, batches)
        except OSError as error:
            self._say(f"the decoded pictures are not kept in the store: {error}; workers get them from this machine")
            return others
        return StoreShardSource(self._store.address, self._nonce, others, variables_of(self._store.address))

    def _each(self, one: Callable[[DecodingBatch], Any], batches: Sequence[DecodingBatch]) -> list[Any]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(one, batches))

    def _take(self, batch: DecodingBatch) -> Corrupt | None:
        """Copy a batch from the store to the cache of this machine; None if the store lacks it."""
        found = _content(self._store, batch.name) if batch.keep else None
        if found is None:
            return None
        keep_batch(batch, unpack_shard(memoryview(found.shard)), found.corrupt)
        return found.corrupt

    def _keep(self, batch: DecodingBatch) -> None:
        """Write a batch of the cache to the store, unless it is there; one without pictures is decoded again."""
        if not batch.keep or self._store.use(SPACE, batch.name) is not None:
            return
        content, corrupt = node_cache().read(batch.shard), decoded_before(batch)
        if content is not None and corrupt is not None:
            reasons = {str(i): reason for i, reason in corrupt.items()}
            self._store.commit(SPACE, batch.name, {"shard": self._store.put(content), "corrupt": reasons})


@dataclass(frozen=True)
class _Stored:
    """The content of a batch: its shard, and the corrupt files."""

    shard: bytes
    corrupt: Corrupt


@dataclass(frozen=True)
class StoreShardSource:
    """Shards in a store; a process that does not reach it gets them from `others`."""

    address: str
    nonce: str
    others: ShardSource | None
    variables: Mapping[str, str] = field(repr=False)
    """The environment variables with the credentials."""

    def fetch(self, name: str) -> memoryview:
        batch = PurePosixPath(name).stem
        if self._store is not None:
            with contextlib.suppress(OSError):  # it does not answer any more
                content = _content(self._store, batch)
                if content is not None:
                    return memoryview(content.shard)
        assert self.others is not None, "a cluster has one"
        return self.others.fetch(name)

    @cached_property
    def _store(self) -> Store | None:
        os.environ.update(self.variables)
        return reached(self.address, self.nonce)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_store"}


def _content(store: Store, batch: str) -> _Stored | None:
    """The verified content of a batch; None if the store lacks it. A damaged one is set aside."""
    manifest = store.use(SPACE, batch)
    if manifest is None:
        return None
    try:
        return _Stored(store.get(manifest["shard"]), {int(i): reason for i, reason in manifest["corrupt"].items()})
    except Damaged:
        store.set_aside(SPACE, batch)
        return None
