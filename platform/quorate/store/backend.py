"""Read and write named bytes atomically: the contract of a backend, and the backend for a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from quorate.errors import naming
from quorate.quantities import format_bytes

_PARTIAL = ".new-"

PIECE = 8 << 20
"""Bytes of a piece in which large content is read: an assumption."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    }
)
"""Error numbers of a full disk and of a network file system whose server is away."""


def pieces_of(path: Path) -> Iterator[bytes]:
    """Yield the content of a file in pieces of `PIECE` bytes."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


class StoreUnavailable(OSError):
    """The store cannot be read or written now: its disk is full, or it cannot be reached.

    Nothing that was finished is lost, and no write is left half done. Every operation of `Store` may be repeated
    after this error, also where an earlier try took effect without an answer: blobs are named by their content, the
    first commit of a manifest stays, and the last `replace` of a checkpoint counts. `filename` is the file, or the URL
    of an object store without credentials; `errno` is None for an object store.
    """

    def __init__(self, number: int | None, problem: str, place: str) -> None:
        super().__init__(number, problem, place)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"

    @property
    def may_pass(self) -> bool:
        """Whether a later repetition can succeed although nobody intervenes; not if a disk is full."""
        return self.errno not in _FULL


class StoreRefused(StoreUnavailable):
    """An object store refuses the credentials or has no such bucket; a repetition does not help."""

    @property
    def may_pass(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Entry:
    """An item in a store: its name, its size in bytes, and the seconds since it was last written or touched."""

    name: str
    size: int
    idle: float


class Backend(Protocol):
    """Named bytes; safe for threads and processes.

    `create` and `swap` are atomic across processes, and so are `touch` and `remove_idle` together. Methods raise
    `StoreUnavailable` where the disk is full or the store cannot be reached.
    """

    @property
    def address(self) -> str:
        """A path or URL with which another process opens the same store; holds no credentials."""

    def read(self, name: str) -> bytes | None: ...

    def pieces(self, name: str) -> Iterator[bytes] | None:
        """Return the content in pieces of some megabytes, or None if there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Write the whole content or nothing; replaces existing content."""

    def put(self, name: str, content: bytes) -> None:
        """Have this content under the name, as just used; the name always stands for the same content."""

    def put_file(self, name: str, path: Path) -> None:
        """Like `put` with the content of a file, which is read in pieces."""

    def create(self, name: str, content: bytes) -> bool:
        """Write the content if there is none, or return False."""

    def swap(self, name: str, old: bytes | None, new: bytes) -> bool:
        """Replace `old` (None: absent) by `new`, or return False if the content is not `old`.

        There is no conditional removal: object stores have none that all of them understand.
        """

    def move(self, name: str, to: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def names(self, prefix: str) -> Iterator[str]: ...

    def entries(self, prefix: str) -> Iterator[Entry]: ...

    def entry(self, name: str) -> Entry | None:
        """Return the entry of one item, or None if it does not exist."""

    def torn(self) -> Iterator[Entry]:
        """Yield what interrupted writes and removals left behind; it is not part of the content."""

    def remove_torn(self, name: str, seconds: float) -> bool:
        """Remove an item of `torn` that is older than `seconds`, or return False."""

    def touch(self, name: str) -> bool:
        """Mark an item as used now, or return False if it does not exist."""

    def use(self, name: str) -> bytes | None:
        """Like `read`, but also mark the item as used now."""

    def remove_idle(self, name: str, seconds: float) -> bool:
        """Remove an item that was not written or touched for `seconds`; return False if it was, or is absent."""


class LocalBackend:
    """Files below a folder: written to a temporary file, synced, then renamed or linked to the final name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def address(self) -> str:
        return str(self.root.absolute())

    def read(self, name: str) -> bytes | None:
        with self._available():
            try:
                return (self.root / name).read_bytes()
            except FileNotFoundError:
                return None

    def pieces(self, name: str) -> Iterator[bytes] | None:
        with self._available():
            try:
                file = (self.root / name).open("rb")
            except FileNotFoundError:
                return None
        return self._pieces(file)

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        with file, self._available():
            while piece := file.read(PIECE):
                yield piece

    def write(self, name: str, content: bytes) -> None:
        self._write(name, [content], len(content))

    def _write(self, name: str, pieces: Iterable[bytes], size: int) -> None:
        with self._available(), self._temporary(name, pieces, size) as (temporary, final):
            temporary.replace(final)

    def put(self, name: str, content: bytes) -> None:
        if self.read(name) != content or not self.touch(name):
            self.write(name, content)

    def put_file(self, name: str, path: Path) -> None:
        stored = self.pieces(name)
        same = stored is not None and all(a == b for a, b in itertools.zip_longest(stored, pieces_of(path)))
        if not same or not self.touch(name):
            self._write(name, pieces_of(path), path.stat().st_size)

    def create(self, name: str, content: bytes) -> bool:
        with self._available(), self._temporary(name, [content], len(content)) as (temporary, final):
            try:
                os.link(temporary, final)
            except FileExistsError:
                return False
        return True

    def swap(self, name: str, old: bytes | None, new: bytes) -> bool:
        with self._available(), self._locked(name):
            if self.read(name) != old:
                return False
            self.write(name, new)
            return True

    def move(self, name: str, to: str) -> None:
        target = self.root / to
        with self._available():
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                (self.root / name).replace(target)

    def remove(self, name: str) -> None:
        with self._available():
            (self.root / name).unlink(missing_ok=True)

    def names(self, prefix: str) -> Iterator[str]:
        with self._available():
            found = sorted((self.root / prefix).rglob("*"))
        for path in found:
            if path.is_file() and not path.name.startswith("."):
                yield str(path.relative_to(self.root))

    def entries(self, prefix: str) -> Iterator[Entry]:
        return self._measured(self.root / name for name in self.names(prefix))

    def entry(self, name: str) -> Entry | None:
        return next(self._measured([self.root / name]), None)

    def torn(self) -> Iterator[Entry]:
        return self._measured(self.root.rglob(f"{_PARTIAL}*"))

    def remove_torn(self, name: str, seconds: float) -> bool:
        return self.remove_idle(name, seconds)

    def _measured(self, paths: Iterable[Path]) -> Iterator[Entry]:
        for path in paths:
            with self._available(), contextlib.suppress(FileNotFoundError):
                found = path.stat()
                name = str(path.relative_to(self.root))
                yield Entry(name, found.st_size, max(0.0, time.time() - found.st_mtime))

    def touch(self, name: str) -> bool:
        if not (self.root / name).exists():
            return False
        try:
            with self._available(), self._locked(name) as path:
                os.utime(path)
        except FileNotFoundError:
            return False
        except PermissionError:  # another user's file in a shared store
            return (self.root / name).exists()
        return True

    def use(self, name: str) -> bytes | None:
        return self.read(name) if self.touch(name) else None

    def remove_idle(self, name: str, seconds: float) -> bool:
        with self._available(), self._locked(name) as path:
            try:
                idle = max(0.0, time.time() - path.stat().st_mtime) >= seconds
            except FileNotFoundError:
                return False
            if idle:
                path.unlink()
            return idle

    @contextlib.contextmanager
    def _available(self) -> Iterator[None]:
        """Turn an `OSError` of a full disk or an unreachable file system into `StoreUnavailable`."""
        try:
            with naming(self.root):
                yield
        except StoreUnavailable:
            raise
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            raise StoreUnavailable(error.errno, error.strerror or str(error), os.fsdecode(error.filename)) from error

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[Path]:
        """Yield the path of `name` while holding the exclusive lock of its folder."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield path

    @contextlib.contextmanager
    def _temporary(self, name: str, pieces: Iterable[bytes], size: int) -> Iterator[tuple[Path, Path]]:
        final = self.root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=final.parent, prefix=_PARTIAL)
        temporary = Path(path)
        try:
            with naming(final), os.fdopen(handle, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            yield temporary, final
            folder = os.open(final.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno in _FULL:
                raise self._full(error, final, size) from error
            raise
        finally:
            temporary.unlink(missing_ok=True)

    def _full(self, error: OSError, file: Path, size: int) -> StoreUnavailable:
        problem = "the disk quota is used up" if error.errno == errno.EDQUOT else "no space is left on the disk"
        free = shutil.disk_usage(file.parent).free
        room = f": {format_bytes(size)} must be written, and {format_bytes(free)} are free"
        return StoreUnavailable(error.errno, problem + room, str(file))
