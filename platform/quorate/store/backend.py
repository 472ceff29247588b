"""Read and write named bytes atomically: the contract of a backend, and the backend for a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from quorate.errors import naming

_PARTIAL = ".new-"


@dataclass(frozen=True, slots=True)
class Entry:
    """An item in a store: its name, its size in bytes, and the seconds since it was last written or touched."""

    name: str
    size: int
    idle: float


class Backend(Protocol):
    """Named bytes. `create` and `swap` are atomic across processes, and so are `touch` and `remove_idle` together."""

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, content: bytes) -> None:
        """Write the whole content or nothing; replaces existing content."""

    def create(self, name: str, content: bytes) -> bool:
        """Write the content if there is none, or return False."""

    def swap(self, name: str, old: bytes | None, new: bytes | None) -> bool:
        """Replace `old` (None: absent) by `new` (None: remove), or return False if the content is not `old`."""

    def move(self, name: str, to: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def names(self, prefix: str) -> Iterator[str]: ...

    def entries(self, prefix: str) -> Iterator[Entry]: ...

    def torn(self) -> Iterator[Entry]:
        """Yield the files of writes that a crash interrupted; they are not part of the content."""

    def touch(self, name: str) -> bool:
        """Mark an item as used now, or return False if it does not exist."""

    def remove_idle(self, name: str, seconds: float) -> bool:
        """Remove an item that was not written or touched for `seconds`; return False if it was, or is absent."""


class LocalBackend:
    """Files below a folder: written to a temporary file, synced, then renamed or linked to the final name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        with self._temporary(name, content) as (temporary, final):
            temporary.replace(final)

    def create(self, name: str, content: bytes) -> bool:
        with self._temporary(name, content) as (temporary, final):
            try:
                os.link(temporary, final)
            except FileExistsError:
                return False
        return True

    def swap(self, name: str, old: bytes | None, new: bytes | None) -> bool:
        with self._locked(name) as final:
            if self.read(name) != old:
                return False
            if new is None:
                final.unlink(missing_ok=True)
            else:
                self.write(name, new)
            return True

    def move(self, name: str, to: str) -> None:
        target = self.root / to
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (self.root / name).replace(target)

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def names(self, prefix: str) -> Iterator[str]:
        for path in sorted((self.root / prefix).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield str(path.relative_to(self.root))

    def entries(self, prefix: str) -> Iterator[Entry]:
        return self._measured(self.root / name for name in self.names(prefix))

    def torn(self) -> Iterator[Entry]:
        return self._measured(self.root.rglob(f"{_PARTIAL}*"))

    def _measured(self, paths: Iterable[Path]) -> Iterator[Entry]:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                name = str(path.relative_to(self.root))
                yield Entry(name, found.st_size, max(0.0, time.time() - found.st_mtime))

    def touch(self, name: str) -> bool:
        if not (self.root / name).exists():
            return False
        try:
            with self._locked(name) as path:
                os.utime(path)
        except FileNotFoundError:
            return False
        except PermissionError:  # another user's file in a shared store
            return (self.root / name).exists()
        return True

    def remove_idle(self, name: str, seconds: float) -> bool:
        with self._locked(name) as path:
            try:
                idle = max(0.0, time.time() - path.stat().st_mtime) >= seconds
            except FileNotFoundError:
                return False
            if idle:
                path.unlink()
            return idle

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[Path]:
        """Yield the path of `name` while holding the exclusive lock of its folder."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield path

    @contextlib.contextmanager
    def _temporary(self, name: str, content: bytes) -> Iterator[tuple[Path, Path]]:
        final = self.root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=final.parent, prefix=_PARTIAL)
        temporary = Path(path)
        try:
            with naming(final), os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield temporary, final
            folder = os.open(final.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        finally:
            temporary.unlink(missing_ok=True)
