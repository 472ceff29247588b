"""Finished work on disk: blobs named by their content, small manifests put atomically, leases."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from quorate.errors import UserError

Manifest = dict[str, Any]


class Damaged(ValueError):
    """Stored content is not what its name or checksum says."""


class Backend(Protocol):
    """Named bytes. `create` and `swap` are atomic against every other process."""

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, content: bytes) -> None:
        """Put the whole content, or nothing; replace what is there."""

    def create(self, name: str, content: bytes) -> bool:
        """Put the content where there is none; False where there is some."""

    def swap(self, name: str, old: bytes | None, new: bytes | None) -> bool:
        """Replace `old` (None: nothing there) by `new` (None: remove); False where it is not `old`."""

    def move(self, name: str, to: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def names(self, prefix: str) -> Iterator[str]: ...


class LocalBackend:
    """Files below a folder: written apart, synced, then renamed or linked into place."""

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
        final = self.root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        with (final.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
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

    @contextlib.contextmanager
    def _temporary(self, name: str, content: bytes) -> Iterator[tuple[Path, Path]]:
        final = self.root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=final.parent, prefix=".new-")
        temporary = Path(path)
        try:
            with os.fdopen(handle, "wb") as file:
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


class Store:
    """Blobs first, the manifest last: a manifest in place means that its work is finished."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def put(self, content: bytes) -> str:
        """Keep a blob and give its name, the SHA-256 of its content."""
        name = hashlib.sha256(content).hexdigest()
        if self._backend.read(_blob(name)) != content:
            self._backend.write(_blob(name), content)
        return name

    def get(self, name: str) -> bytes:
        """A blob, verified; raises `Damaged` where it is missing or changed, and sets it aside."""
        content = self._backend.read(_blob(name))
        if content is None:
            raise Damaged(f"the blob {name[:12]} is missing")
        if hashlib.sha256(content).hexdigest() != name:
            self._backend.move(_blob(name), f"damaged/{name}")
            raise Damaged(f"the blob {name[:12]} does not match its SHA-256")
        return content

    def commit(self, space: str, key: str, manifest: Manifest) -> Manifest:
        """Finish a piece of work; the first commit stays, and what stands is returned."""
        if self._backend.create(_manifest(space, key), _sealed(manifest)):
            return manifest
        standing = self.find(space, key)
        return standing if standing is not None else self.commit(space, key, manifest)

    def replace(self, space: str, key: str, manifest: Manifest) -> None:
        """Put a manifest over the one that is there and drop the blobs that only that one named: checkpoints."""
        before = self.find(space, key) or {}
        self._backend.write(_manifest(space, key), _sealed(manifest))
        for blob in set(before.values()) - set(manifest.values()):
            self._backend.remove(_blob(blob))

    def find(self, space: str, key: str) -> Manifest | None:
        """The manifest, or None; a damaged one is set aside."""
        content = self._backend.read(_manifest(space, key))
        if content is None:
            return None
        try:
            return _unsealed(content)
        except Damaged:
            self.set_aside(space, key)
            return None

    def set_aside(self, space: str, key: str) -> None:
        """Move a manifest out of the way, so that its work is done again; nothing is deleted."""
        self._backend.move(_manifest(space, key), f"damaged/{space}-{key}.json")

    def drop(self, space: str, key: str) -> None:
        """Remove a manifest and the blobs that it names; for checkpoints, which nothing else refers to."""
        manifest = self.find(space, key)
        if manifest is None:
            return
        self._backend.remove(_manifest(space, key))
        for blob in manifest.values():
            self._backend.remove(_blob(blob))

    def keys(self, space: str) -> Iterator[str]:
        return (Path(name).stem for name in self._backend.names(space))

    @contextlib.contextmanager
    def lease(self, name: str, *, waiting: Callable[[str], None], beat: float = 2.0) -> Iterator[None]:
        """Hold `name` alone; `waiting` is told who holds it while it is somebody else.

        The holder raises a counter every `beat` seconds. One whose counter stands still for ten beats
        of the waiting side's own clock, or that is a process of this host which has ended, has lost
        the lease. Two holders at once do no harm: the first commit of a piece of work stays.
        """
        place = f"leases/{name}.json"
        mine: Manifest = {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid()), "beats": 0}
        held = _acquire(self._backend, place, mine, waiting=waiting, beat=beat)
        over = threading.Event()

        def keep() -> None:
            nonlocal held
            while not over.wait(beat):
                mine["beats"] += 1
                new = json.dumps(mine).encode()
                if self._backend.swap(place, held, new):
                    held = new

        heart = threading.Thread(target=keep, name="lease", daemon=True)
        heart.start()
        try:
            yield
        finally:
            over.set()
            heart.join()
            self._backend.swap(place, held, None)


def open_store(uri: str) -> Store:
    """The store at a path or `file://` URI; raises `UserError` for other schemes."""
    scheme, separator, rest = uri.partition("://")
    if separator and scheme != "file":
        raise UserError(f"--store {uri}: stores are folders here (a path or file:///path)")
    root = Path(rest if separator else uri).expanduser().absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise UserError(f"--store {uri}: cannot write there: {error.strerror}") from None
    return Store(LocalBackend(root))


def _acquire(
    backend: Backend, place: str, mine: Mapping[str, object], *, waiting: Callable[[str], None], beat: float
) -> bytes:
    """Wait until `place` is free or its holder is lost, then take it; gives what was written."""
    content = json.dumps(mine).encode()
    seen, since, told = None, time.monotonic(), False
    while True:
        present = backend.read(place)
        if present is None or _is_gone(present) or (present == seen and time.monotonic() - since > 10 * beat):
            if backend.swap(place, present, content):
                return content
            continue
        if present != seen:
            seen, since = present, time.monotonic()
        if not told:
            holder = json.loads(present)
            waiting(f"process {holder['pid']} on {holder['host']}")
            told = True
        time.sleep(min(beat / 4, 0.5))


def _is_gone(content: bytes) -> bool:
    """Whether the holder was a process of this host that has ended."""
    try:
        holder = json.loads(content)
        return bool(holder["host"] == socket.gethostname() and _born(holder["pid"]) != holder["born"])
    except (ValueError, KeyError, TypeError):
        return True


def _born(pid: int) -> str | None:
    """Something that tells a process from a later one with the same number; None where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "alive"
    return None if fields[0] == "Z" else fields[19]


def _blob(name: str) -> str:
    return f"blobs/{name[:2]}/{name}"


def _manifest(space: str, key: str) -> str:
    return f"{space}/{key[:2]}/{key}.json"


def _sealed(manifest: Manifest) -> bytes:
    body = json.dumps(manifest, sort_keys=True)
    return json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "body": manifest}, sort_keys=True).encode()


def _unsealed(content: bytes) -> Manifest:
    try:
        sealed = json.loads(content)
        body: Manifest = sealed["body"]
        sound = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest() == sealed["sha256"]
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise Damaged("a manifest does not match its SHA-256")
    return body
