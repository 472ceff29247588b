"""Store finished work as blobs named by their content, and as small manifests that are written after them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from quorate.errors import naming
from quorate.store import leases
from quorate.store.backend import Backend
from quorate.store.lease_record import LeaseHolder
from quorate.store.leases import Lease, LeaseLost, LeaseWatch

Manifest = dict[str, Any]

_STALE_CHALLENGE = 86400.0
"""Seconds after which the challenge of a driver that died is removed: an assumption."""


class Damaged(ValueError):
    """Stored content does not match its name or checksum."""


class Store:
    """Blobs and manifests; the manifest is written last, so its existence means that its work is finished.

    While a lease that was taken with `lease` is held, `commit` and `replace` raise `LeaseLost` if another process has
    it. Methods raise `StoreUnavailable` where the disk is full or the store cannot be reached; all may be repeated.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._leases: list[Lease] = []

    @property
    def address(self) -> str:
        """A path or URL with which `open_store` opens the same store in another process; holds no credentials."""
        return self.backend.address

    def put(self, content: bytes) -> str:
        """Store a blob and return its name, the SHA-256 of its content."""
        name = hashlib.sha256(content).hexdigest()
        self.backend.put(_blob(name), content)
        return name

    def put_file(self, path: Path) -> str:
        """Like `put` with the content of a file, which is read in pieces."""
        with path.open("rb") as file:
            name = hashlib.file_digest(file, "sha256").hexdigest()
        self.backend.put_file(_blob(name), path)
        return name

    def get(self, name: str) -> bytes:
        """Return a verified blob; raises `Damaged` if it is missing or changed. Moves a changed one to `damaged/`."""
        content = self.backend.read(_blob(name))
        if content is None:
            raise Damaged(f"the blob {name[:12]} is missing")
        if hashlib.sha256(content).hexdigest() != name:
            self.backend.move(_blob(name), f"damaged/{name}")
            raise Damaged(f"the blob {name[:12]} does not match its SHA-256")
        return content

    def verify(self, name: str) -> None:
        """Like `get`, but reads the blob in pieces and returns nothing."""
        for _ in self._verified(name):
            pass

    def copy(self, name: str, path: Path) -> None:
        """Write a verified blob to a file, in pieces; raises `Damaged`, and leaves no file then."""
        try:
            with naming(path), path.open("wb") as file:
                for piece in self._verified(name):
                    file.write(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _verified(self, name: str) -> Iterator[bytes]:
        """Yield the pieces of a blob; raises `Damaged` after the last one if they are not the blob."""
        pieces = self.backend.pieces(_blob(name))
        if pieces is None:
            raise Damaged(f"the blob {name[:12]} is missing")
        found = hashlib.sha256()
        for piece in pieces:
            found.update(piece)
            yield piece
        if found.hexdigest() != name:
            self.backend.move(_blob(name), f"damaged/{name}")
            raise Damaged(f"the blob {name[:12]} does not match its SHA-256")

    def size(self, name: str) -> int:
        """Return the size of a blob in bytes without reading it; 0 if it is missing."""
        entry = self.backend.entry(_blob(name))
        return 0 if entry is None else entry.size

    def commit(self, space: str, key: str, manifest: Manifest) -> Manifest:
        """Write the manifest of a key unless the key already has one; return the manifest that is stored."""
        self._check_leases()
        if self.backend.create(_manifest(space, key), _sealed(manifest)):
            return manifest
        standing = self.find(space, key)
        return standing if standing is not None else self.commit(space, key, manifest)

    def replace(self, space: str, key: str, manifest: Manifest) -> None:
        """Replace a manifest and remove the blobs that only the old one named; used for checkpoints."""
        self._check_leases()
        before = self.find(space, key) or {}
        self.backend.write(_manifest(space, key), _sealed(manifest))
        for blob in set(before.values()) - set(manifest.values()):
            self.backend.remove(_blob(blob))

    def find(self, space: str, key: str) -> Manifest | None:
        """Return the manifest or None; a damaged manifest is moved to `damaged/`."""
        return self._opened(space, key, self.backend.read(_manifest(space, key)))

    def use(self, space: str, key: str) -> Manifest | None:
        """Like `find`, but also mark the manifest as used: recently used work is not collected."""
        return self._opened(space, key, self.backend.use(_manifest(space, key)))

    def _opened(self, space: str, key: str, content: bytes | None) -> Manifest | None:
        if content is None:
            return None
        try:
            return _unsealed(content)
        except Damaged:
            self.set_aside(space, key)
            return None

    def set_aside(self, space: str, key: str) -> None:
        """Move a manifest to `damaged/`, so that its work is done again; nothing is deleted."""
        self.backend.move(_manifest(space, key), f"damaged/{space}-{key}.json")

    def discard(self, space: str, key: str, blob: str) -> None:
        """Remove a blob that was written for a manifest, unless the manifest names it; for checkpoints, as `drop`."""
        if blob not in (self.find(space, key) or {}).values():
            self.backend.remove(_blob(blob))

    def drop(self, space: str, key: str) -> None:
        """Remove a manifest and its blobs; for checkpoints, because no other manifest names their blobs."""
        manifest = self.find(space, key)
        if manifest is None:
            return
        self.backend.remove(_manifest(space, key))
        for blob in manifest.values():
            self.backend.remove(_blob(blob))

    def keys(self, space: str) -> Iterator[str]:
        return (Path(name).stem for name in self.backend.names(space))

    @contextlib.contextmanager
    def lease(
        self,
        name: str,
        *,
        waiting: Callable[[str], None],
        busy: Callable[[LeaseHolder], None] | None = None,
        beat: float = leases.BEAT,
        keys: Sequence[str] = (),
        lost: Callable[[LeaseLost], None] | None = None,
    ) -> Iterator[Lease]:
        """Hold the lease `name` (see `leases.hold`); the fits under `keys` are not collected meanwhile."""
        pins = [_manifest("fits", key) for key in keys]
        with leases.hold(self.backend, name, waiting=waiting, busy=busy, beat=beat, pins=pins, lost=lost) as lease:
            self._leases.append(lease)
            try:
                yield lease
            finally:
                self._leases.remove(lease)

    def watch(self, name: str, holder: LeaseHolder) -> LeaseWatch:
        """Observe the lease that another process holds."""
        return LeaseWatch(self.backend, name, holder)

    @contextlib.contextmanager
    def challenge(self) -> Iterator[str]:
        """Write a nonce that is removed when the context ends; `reachable` finds it in processes with this store."""
        for entry in list(self.backend.entries("challenges")):
            if entry.idle > _STALE_CHALLENGE:
                self.backend.remove(entry.name)
        nonce = secrets.token_hex(16)
        self.backend.write(_challenge(nonce), nonce.encode())
        try:
            yield nonce
        finally:
            with contextlib.suppress(OSError):  # a later challenge removes it
                self.backend.remove(_challenge(nonce))

    def answers(self, nonce: str) -> bool:
        """Return whether this is the store of the process that wrote the challenge, and can be written."""
        if self.backend.read(_challenge(nonce)) != nonce.encode():
            return False
        answer = f"{_challenge(nonce)}-{secrets.token_hex(8)}"
        self.backend.write(answer, b"")
        self.backend.remove(answer)
        return True

    def _check_leases(self) -> None:
        for lease in list(self._leases):
            lease.check()


def _challenge(nonce: str) -> str:
    return f"challenges/{nonce}"


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
