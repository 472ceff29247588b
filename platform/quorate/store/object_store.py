"""Keep a store in a bucket of S3, Google Cloud Storage or Azure, or of a server with the protocol of S3.

Each object is its content followed by a trailer: a random number and a mark. Therefore no two writes of a name have
the same ETag, although S3 derives it from the bytes. Three operations depend on this:

- `touch` writes an object again, on condition of its ETag; a removal that began before then fails.
- A removal replaces the object by a tombstone, on condition of its ETag, because obstore (and S3 until 2025) has no
  conditional DELETE. A tombstone is 16 bytes and counts as absent. `remove_torn` deletes old ones. That DELETE has no
  condition: if a job writes the same name between the check of the tombstone and the DELETE, its write is lost, and the
  work is done again.
- If the answer to a conditional write was lost, the random number shows whether the write took effect.

Ages use only the clock of the store: the time of an object is compared with that of an object written just now.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from quorate.store.backend import PIECE, Entry, pieces_of
from quorate.store.bucket import BucketUrl, open_bucket, reported

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta, PutMode, UpdateVersion

_PART = 8 << 20
"""Bytes of a part of a multipart upload: an assumption."""

_PARTS_AT_ONCE = 4
"""Parts in flight, so that an upload takes 32 MiB besides the content: an assumption."""

_SMALL = 1 << 20
"""Bytes up to which a write must end within the seconds of a small request: an assumption."""

_CLOCK = ".clock"
_CLOCK_SECONDS = 300.0
"""Seconds for which a reading of the store's clock is used; the local clock is used in between."""

_CLOCK_STEP = 1.0
"""Resolution, in seconds, of the times of S3 and Azure. Ages are up to two steps too high, so that none is negative."""

_MARK = b"quo1"
_TRAILER = 16 + len(_MARK)
_GONE = b"removed!"
_TOMBSTONE = len(_GONE) + 8
assert _TOMBSTONE < _TRAILER, "the size in a listing distinguishes them"


class ObjectBackend:
    """Objects below a prefix of a bucket. Endpoint and credentials come from the environment variables."""

    def __init__(self, url: BucketUrl) -> None:
        self.url = url
        # An unreachable store fails after about 20 s, or 10 s for the small requests that leases are made of.
        self._bulk = open_bucket(url, read_timeout=20.0, retry=15.0)
        self._quick = open_bucket(url, read_timeout=4.0, retry=6.0)
        self._clock: tuple[float, float] | None = None
        self._setting = threading.Lock()

    @property
    def address(self) -> str:
        return str(self.url)

    def check(self) -> None:
        """Write and read a small object; raises `StoreRefused` or `StoreUnavailable`."""
        self._clock = None
        self._now()

    def exists(self) -> bool:
        """Return whether there is any object below the prefix."""
        with self._reported():
            return any(True for _ in obstore.list(self._quick, chunk_size=1))

    def read(self, name: str) -> bytes | None:
        found = self._get(name)
        return None if found is None else found.content

    def pieces(self, name: str) -> Iterator[bytes] | None:
        try:
            with self._reported(absent=True):
                result = obstore.get(self._bulk, name)
        except FileNotFoundError:
            return None
        if result.meta["size"] == _TOMBSTONE:
            content = self.read(name)
            return None if content is None else iter([content])
        return self._unframed(result)

    def _unframed(self, result: GetResult) -> Iterator[bytes]:
        """Yield the pieces of an object without its trailer."""
        end = b""
        with self._reported():
            for piece in result.stream(min_chunk_size=PIECE):
                joined = end + piece
                if len(joined) > _TRAILER:
                    yield joined[:-_TRAILER]
                end = joined[-_TRAILER:]
        if end[-len(_MARK) :] != _MARK:
            yield end

    def write(self, name: str, content: bytes) -> None:
        trailer = _trailer()
        with self._reported():
            if len(content) <= _PART:
                obstore.put(self._bulk, name, content + trailer, use_multipart=False)
            else:
                obstore.put(
                    self._bulk, name, _pieces(content, trailer), chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE
                )

    def put(self, name: str, content: bytes) -> None:
        self.write(name, content)  # to compare would cost a download

    def put_file(self, name: str, path: Path) -> None:
        framed = itertools.chain(pieces_of(path), [_trailer()])
        with self._reported():
            obstore.put(self._bulk, name, framed, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE)

    def create(self, name: str, content: bytes) -> bool:
        framed = content + _trailer()
        while not self._put_if(name, framed, "create"):
            found = self._get(name)
            if found is None:
                continue  # deleted meanwhile
            if found.content is not None:
                return False
            if self._put_if(name, framed, found.version):
                break
        return True

    def swap(self, name: str, old: bytes | None, new: bytes) -> bool:
        found = self._get(name, quick=True)
        if (None if found is None else found.content) != old:
            return False
        return self._put_if(name, new + _trailer(), "create" if found is None else found.version)

    def move(self, name: str, to: str) -> None:
        meta = self._meta(name)
        if meta is None:
            return
        try:
            with self._reported(absent=True):
                obstore.copy(self._bulk, name, to)
        except FileNotFoundError:
            return
        self._put_if(name, _tombstone(), _version(meta))  # if another write was quicker, that stays

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._reported(absent=True):
            obstore.delete(self._quick, name)

    def names(self, prefix: str) -> Iterator[str]:
        return iter(sorted(meta["path"] for meta in self._list(prefix) if meta["size"] != _TOMBSTONE))

    def entries(self, prefix: str) -> Iterator[Entry]:
        now = self._now()
        found = [_entry(meta, now) for meta in self._list(prefix) if meta["size"] != _TOMBSTONE]
        return iter(sorted(found, key=lambda entry: entry.name))

    def entry(self, name: str) -> Entry | None:
        meta = self._meta(name)
        return None if meta is None else _entry(meta, self._now())

    def torn(self) -> Iterator[Entry]:
        """Yield tombstones. A lifecycle rule of the bucket must remove the parts of interrupted uploads."""
        now = self._now()
        return (_entry(meta, now) for meta in self._list("") if meta["size"] == _TOMBSTONE)

    def remove_torn(self, name: str, seconds: float) -> bool:
        meta = self._head(name)
        if meta is None or meta["size"] != _TOMBSTONE or _idle(meta, self._now()) < seconds:
            return False
        self.remove(name)
        return True

    def touch(self, name: str) -> bool:
        return self.use(name) is not None

    def use(self, name: str) -> bytes | None:
        while True:
            found = self._get(name)
            if found is None or found.content is None:
                return None
            if self._put_if(name, found.content + _trailer(), found.version):
                return found.content

    def remove_idle(self, name: str, seconds: float) -> bool:
        meta = self._meta(name)
        if meta is None or _idle(meta, self._now()) < seconds:
            return False
        return self._put_if(name, _tombstone(), _version(meta))

    def _get(self, name: str, *, quick: bool = False) -> _Stored | None:
        """Download an object; None if there is none."""
        try:
            with self._reported(absent=True):
                result = obstore.get(self._quick if quick else self._bulk, name)
                buffer = io.BytesIO()
                for piece in result.stream(min_chunk_size=PIECE):
                    buffer.write(piece)
                version = _version(result.meta)
        except FileNotFoundError:
            return None
        end = buffer.getbuffer()
        size = len(end)
        gone = size == _TOMBSTONE and end[: len(_GONE)] == _GONE
        framed = size >= _TRAILER and end[-len(_MARK) :] == _MARK
        trailer = bytes(end[-_TRAILER:])
        end.release()
        if gone:
            return _Stored(None, trailer, version)
        if framed:  # else something else wrote it: the checksums of the content decide
            buffer.truncate(size - _TRAILER)
        return _Stored(buffer.getvalue(), trailer, version)

    def _put_if(self, name: str, framed: bytes, mode: PutMode) -> bool:
        """Write an object under a condition; return whether this very write took effect."""
        try:
            with self._reported():
                obstore.put(self._quick if len(framed) <= _SMALL else self._bulk, name, framed, mode=mode)
        except (AlreadyExistsError, PreconditionError):
            # An earlier try of this request may have taken effect without an answer.
            found = self._get(name, quick=True)
            return found is not None and found.trailer == framed[-_TRAILER:]
        return True

    def _head(self, name: str) -> ObjectMeta | None:
        try:
            with self._reported(absent=True):
                return obstore.head(self._quick, name)
        except FileNotFoundError:
            return None

    def _meta(self, name: str) -> ObjectMeta | None:
        """Like `_head`, but None for a tombstone."""
        meta = self._head(name)
        return None if meta is None or meta["size"] == _TOMBSTONE else meta

    def _list(self, prefix: str) -> Iterator[ObjectMeta]:
        with self._reported():
            for chunk in obstore.list(self._bulk, prefix or None, chunk_size=1000):
                yield from (meta for meta in chunk if not meta["path"].rpartition("/")[2].startswith("."))

    def _now(self) -> float:
        """Return the time of the store's clock, in seconds."""
        with self._setting:
            if self._clock is None or time.monotonic() - self._clock[1] > _CLOCK_SECONDS:
                with self._reported():
                    obstore.put(self._quick, _CLOCK, b"", use_multipart=False)
                    read = time.monotonic()
                    said = obstore.head(self._quick, _CLOCK)["last_modified"].timestamp()
                self._clock = (said, read)
            return self._clock[0] + _CLOCK_STEP + time.monotonic() - self._clock[1]

    def _reported(self, *, absent: bool = False) -> AbstractContextManager[None]:
        return reported(self.url, absent=absent)


@dataclass(frozen=True)
class _Stored:
    """An object as it was read; the content of a tombstone is None."""

    content: bytes | None
    trailer: bytes
    version: UpdateVersion


def _trailer() -> bytes:
    return secrets.token_bytes(_TRAILER - len(_MARK)) + _MARK


def _tombstone() -> bytes:
    return _GONE + secrets.token_bytes(_TOMBSTONE - len(_GONE))


def _pieces(content: bytes, trailer: bytes) -> Iterator[memoryview | bytes]:
    view = memoryview(content)
    for start in range(0, len(view), _PART):
        yield view[start : start + _PART]
    yield trailer


def _version(meta: ObjectMeta) -> UpdateVersion:
    found: UpdateVersion = {}
    if meta["e_tag"] is not None:
        found["e_tag"] = meta["e_tag"]
    if meta["version"] is not None:
        found["version"] = meta["version"]
    return found


def _idle(meta: ObjectMeta, now: float) -> float:
    return max(0.0, now - meta["last_modified"].timestamp())


def _entry(meta: ObjectMeta, now: float) -> Entry:
    size = meta["size"] if meta["size"] == _TOMBSTONE else max(0, meta["size"] - _TRAILER)
    return Entry(meta["path"], size, _idle(meta, now))
