"""Keep files below a prefix of a bucket, byte for byte, so that other tools can read them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from quorate.errors import naming
from quorate.store.backend import StoreRefused
from quorate.store.bucket import BucketUrl, open_bucket, reported

if TYPE_CHECKING:
    from obstore import ObjectMeta

_PART = 8 << 20
"""Bytes of a part of a multipart upload, and of a piece of a download: an assumption."""

_CLOCK = ".clock"
"""An object whose time is the present time of the service."""


@dataclass(frozen=True, slots=True)
class BucketFile:
    """A file in a bucket: its name below the prefix, its size in bytes, and the time when it was last written."""

    name: str
    size: int
    e_tag: str
    """Changes with each write of other content; empty if the service has none."""
    modified: float
    """Seconds since 1970, on the clock of the service."""


class BucketFiles:
    """Files below a prefix of a bucket. Endpoint and credentials come from the environment variables.

    Methods raise `StoreUnavailable` if the service cannot be reached for 6 s, or 15 s for large files, and
    `StoreRefused` if it refuses. All may be repeated.
    """

    def __init__(self, url: BucketUrl) -> None:
        self.url = url
        self._bulk = open_bucket(url, read_timeout=20.0, retry=15.0)
        self._quick = open_bucket(url, read_timeout=10.0, retry=6.0)

    @property
    def address(self) -> str:
        return str(self.url)

    def check(self) -> None:
        """Write a small file; raises `StoreRefused` or `StoreUnavailable`."""
        self.put(_CLOCK, b"")

    def now(self) -> float:
        """Return the time of the service's clock; the local time if this process may only read the bucket."""
        try:
            self.check()
            with self._reported():
                return obstore.head(self._quick, _CLOCK)["last_modified"].timestamp()
        except StoreRefused:
            return time.time()

    def files(self, folder: str = "") -> list[BucketFile]:
        """Return the files below a folder, sorted by name."""
        with self._reported():
            found = [
                _file(meta)
                for chunk in obstore.list(self._quick, folder or None, chunk_size=1000)
                for meta in chunk
                if not meta["path"].rpartition("/")[2].startswith(".")
            ]
        return sorted(found, key=lambda file: file.name)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if there is none."""
        with contextlib.suppress(FileNotFoundError), self._reported(absent=True):
            return bytes(obstore.get(self._quick, name).bytes())
        return None

    def download(self, name: str, path: Path) -> BucketFile | None:
        """Write a file of the bucket to `path`; returns the version that it is, or None if there is none."""
        with contextlib.suppress(FileNotFoundError), self._reported(absent=True):
            result = obstore.get(self._bulk, name)
            with naming(path), path.open("wb") as file:
                for piece in result.stream(min_chunk_size=_PART):
                    file.write(piece)
            return _file(result.meta)
        return None

    def put(self, name: str, content: bytes) -> None:
        """Write a small file, whether it exists or not."""
        with self._reported():
            obstore.put(self._quick, name, content, use_multipart=False)

    def upload(self, path: Path, name: str) -> None:
        """Write a file from the disk in parts, whether it exists or not; it appears when it is complete."""
        with path.open("rb") as file, self._reported():
            obstore.put(self._bulk, name, file, chunk_size=_PART, max_concurrency=2)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file unless one with other content exists; return whether it has this content now."""
        try:
            with self._reported():
                obstore.put(self._quick, name, content, mode="create", use_multipart=False)
        except (AlreadyExistsError, PreconditionError):  # perhaps an earlier try of this request, without an answer
            return self.read(name) == content
        return True

    def remove(self, names: Iterable[str]) -> None:
        with contextlib.suppress(FileNotFoundError), self._reported(absent=True):
            obstore.delete(self._quick, list(names))

    def _reported(self, *, absent: bool = False) -> AbstractContextManager[None]:
        return reported(self.url, absent=absent, what="the bucket")


def _file(meta: ObjectMeta) -> BucketFile:
    return BucketFile(meta["path"], meta["size"], meta["e_tag"] or "", meta["last_modified"].timestamp())
