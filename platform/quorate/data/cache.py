"""Keep files that can be made again, such as decoded pictures and downloads, in a folder of this machine."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from quorate.errors import MachineError, UserError
from quorate.quantities import format_bytes, read_bytes

FOLDER, SIZE = "QUORATE_CACHE", "QUORATE_CACHE_SIZE"
"""The environment variables for the folder of the cache and for its maximum size."""

_MOST = 100 << 30
"""Largest default size in bytes; on a small disk it is less. An assumption, not a measurement."""

_PARTIAL = ".new-"
_SIZE_OF = ".size-"
"""Prefix of the file with the size of a tree: to measure a tree of many files takes seconds."""


class CacheError(MachineError):
    """The cache cannot be used."""


class CacheFull(CacheError):
    """A file does not fit, because the files that are in use leave no room for it."""


@dataclass(frozen=True)
class FileCache:
    """A folder of at most `most` bytes, shared by the processes of a machine; None means the default size.

    A file is `NAME` or `FOLDER/NAME`; `FOLDER/NAME` can also be a tree of files, which is evicted as a whole. A new
    file takes the place of those that were used least recently. Files that a process has open or mapped are in use and
    stay: each of them has a shared lock, which the kernel releases when the process ends.
    """

    folder: Path
    most: int | None

    def open(self, name: str) -> BinaryIO | None:
        """Open a file for reading and mark it as used; None if it is not in the cache.

        It stays in the cache until it is closed, and until memory that maps it is freed.
        """
        try:
            with contextlib.ExitStack() as opened:
                file = opened.enter_context((self.folder / name).open("rb"))
                fcntl.flock(file, fcntl.LOCK_SH)
                if os.fstat(file.fileno()).st_nlink == 0:  # evicted in between
                    return None
                with contextlib.suppress(OSError):  # another user's file, or a disk that is mounted read-only
                    os.utime(file.fileno())
                opened.pop_all()
                return file
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if it is not in the cache."""
        file = self.open(name)
        if file is None:
            return None
        with file:
            return file.read()

    def add(self, name: str, parts: Iterable[bytes | memoryview], size: int) -> None:
        """Write a file of `size` bytes atomically.

        Raises `CacheFull` if there is no room, and `CacheError` if the folder cannot be written.
        """
        final = self.folder / name
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            handle, path = tempfile.mkstemp(dir=final.parent, prefix=_PARTIAL)
            try:
                with os.fdopen(handle, "wb") as file:
                    fcntl.flock(file, fcntl.LOCK_SH)  # it must not be evicted while it is written
                    for part in parts:
                        file.write(part)
                    file.flush()
                    os.fsync(file.fileno())
                    Path(path).replace(final)
            finally:
                Path(path).unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from None

    def hold_tree(self, name: str) -> Path | None:
        """Return a tree, and keep it in the cache until this process ends; None if it is not in the cache."""
        path = self.folder / name
        try:
            with contextlib.ExitStack() as opened:
                handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                opened.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_SH)
                if not path.exists():  # evicted in between
                    return None
                with contextlib.suppress(OSError):  # another user's tree, or a disk that is mounted read-only
                    os.utime(path)
                opened.pop_all()  # the handle stays open
                return path
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None

    def add_tree(self, name: str, fill: Callable[[Path], None], size: int) -> None:
        """Let `fill` write a tree of `size` bytes into an empty folder, and add it atomically."""
        final = self.folder / name
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            new = Path(tempfile.mkdtemp(dir=final.parent, prefix=_PARTIAL))
            handle = os.open(new, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_SH)
                _size_file(new).write_text(str(size))  # before `fill`, so that others leave room for it
                fill(new)
                _size_file(new).replace(_size_file(final))
                new.rename(final)
            finally:
                shutil.rmtree(new, ignore_errors=True)
                _size_file(new).unlink(missing_ok=True)
                os.close(handle)
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:  # another process was quicker
                return
            raise self._unusable(error) from None

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Let one process at a time make the file `name`."""
        self._create()
        with contextlib.ExitStack() as opened:
            try:
                # a few lock files are enough: two names that share one only wait for each other
                lock = opened.enter_context((self.folder / f".lock-{name[-2:]}").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise self._unusable(error) from None
            yield

    def room(self, but: Iterable[str] = ()) -> int:
        """The number of bytes that new files can take; the files `but` count as new."""
        self._create()
        known, files = {self.folder / name for name in but}, list(self._files())
        used = sum(size for path, size, _ in files if path not in known and _is_used(path))
        return self._limit(sum(file[1] for file in files)) - used

    def _make_room(self, size: int) -> None:
        """Remove the files that were used least recently until there are `size` bytes of room."""
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = list(self._files())
            most = self._limit(sum(file[1] for file in files))
            held = evict_oldest(files, most - size, _evict)
            if held + size > most:
                raise CacheFull(
                    f"the cache {self.folder} has no room for {format_bytes(size)}: its size is "
                    f"{format_bytes(most)}, and files of {format_bytes(held)} are in use; set {SIZE} to more"
                )

    def _limit(self, held: int) -> int:
        """The maximum size; by default up to half of the space that the cache and the free disk have together."""
        return self.most if self.most is not None else min(_MOST, (shutil.disk_usage(self.folder).free + held) // 2)

    def _files(self) -> Iterator[tuple[Path, int, float]]:
        """Yield each file and tree with its size and the time of its last use."""
        for path in (*self.folder.glob("*"), *self.folder.glob("*/*")):
            if path.name.startswith((".lock", _SIZE_OF)):
                continue
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    found = path.stat()
                    yield path, found.st_size, found.st_mtime
                elif path.parent != self.folder:
                    yield path, _tree_size(path), path.stat().st_mtime

    def _create(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> CacheError:
        return unusable(self.folder, error)


def unusable(folder: Path, error: OSError) -> CacheError:
    """Return the error for a folder of the cache that the system refuses."""
    fix = f"set {FOLDER} to a writable folder with free space"
    return CacheError(f"the cache {folder} cannot be used: {error.strerror}; {fix}")


def evict_oldest(items: Iterable[tuple[Path, int, float]], most: int, evict: Callable[[Path], bool]) -> int:
    """Evict the items that were used least recently until the others have at most `most` bytes; returns their bytes.

    An item is its path, its size and the time of its last use. `evict` removes it, or returns False if it is in use.
    """
    oldest = sorted(items, key=lambda item: item[2])
    held = sum(item[1] for item in oldest)
    for path, size, _ in oldest:
        if held <= most:
            break
        if evict(path):
            held -= size
    return held


def node_cache() -> FileCache:
    """Return the cache of this machine, as the environment variables set it.

    Raises `CacheError` without a folder for it, and `UserError` for a size that is none.
    """
    # a folder of its own, so that nothing else is evicted from the folder that the variable names
    most = cache_size()
    return FileCache(cache_folder() / "files", most)


def cache_size() -> int | None:
    """Return the number of bytes that `QUORATE_CACHE_SIZE` sets, or None; raises `UserError` if it is no size."""
    given = os.environ.get(SIZE)
    try:
        return read_bytes(given) if given else None
    except ValueError as error:
        raise UserError(f"{SIZE}: {error}") from None


def cache_folder() -> Path:
    """Return the folder that `QUORATE_CACHE` names, by default `~/.cache/quorate`; raises `CacheError`."""
    given = os.environ.get(FOLDER) or "~/.cache/quorate"
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError:
        raise CacheError(f"the cache {given} cannot be used: this user has no home folder; set {FOLDER}") from None


def _size_file(tree: Path) -> Path:
    return tree.with_name(f"{_SIZE_OF}{tree.name}")


def _tree_size(tree: Path) -> int:
    try:
        return int(_size_file(tree).read_text())
    except (FileNotFoundError, ValueError):  # of an earlier version, or damaged
        return sum(file.stat().st_size for file in tree.rglob("*") if file.is_file())


@contextlib.contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Yield whether no process uses a file or tree, and none can start to while the context lasts."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY if path.is_dir() else os.O_RDWR)
    except FileNotFoundError:
        yield True
        return
    except PermissionError:  # another user's
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except OSError:  # in use, or a file system that cannot lock a folder
        free = False
    try:
        yield free
    finally:
        os.close(handle)


def _is_used(path: Path) -> bool:
    with unused(path) as free:
        return not free


def _evict(path: Path) -> bool:
    """Remove a file or tree unless it is in use; return whether it was removed."""
    with unused(path) as free:
        if free and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            _size_file(path).unlink(missing_ok=True)
        elif free:
            path.unlink(missing_ok=True)
        return free
