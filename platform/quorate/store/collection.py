"""Inspect and garbage-collect a store."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from quorate.store import Entry, Manifest, Store
from quorate.store.leases import pinned

GRACE = 3600.0
"""Seconds after its last write or use in which an item is never garbage: a job writes blobs before the manifest that
names them, and reads the files of finished members again when it packs its bundle. An assumption, not a measurement."""

_SPACES = ("fits", "features", "predictions", "checkpoints", "pictures")
_BROKEN = "without a blob"
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredWork:
    """A manifest with the names of its blobs."""

    entry: Entry
    space: str
    key: str
    blobs: frozenset[str]
    kind: str = "unknown"
    """Kind of the member, for a finished fit task."""
    seconds: float = 0.0
    """Seconds of training, for a finished fit task."""


@dataclass(frozen=True)
class Inventory:
    """The content of a store; blobs by their SHA-256."""

    pieces: list[StoredWork]
    blobs: dict[str, Entry]
    damaged: list[Entry]
    torn: list[Entry]
    rest: list[Entry]

    def is_whole(self, piece: StoredWork) -> bool:
        """Return whether all its blobs exist; jobs do not find work that lacks one."""
        return piece.blobs <= self.blobs.keys()

    @property
    def size(self) -> int:
        """The total size in bytes."""
        lone = (*self.blobs.values(), *self.damaged, *self.torn, *self.rest)
        return sum(piece.entry.size for piece in self.pieces) + sum(entry.size for entry in lone)


@dataclass
class Usage:
    """The number of items, their size in bytes, and the seconds of training that they represent."""

    count: int = 0
    size: int = 0
    seconds: float = 0.0

    def add(self, size: int, seconds: float = 0.0) -> None:
        self.count, self.size, self.seconds = self.count + 1, self.size + size, self.seconds + seconds


@dataclass(frozen=True)
class RetentionRules:
    """What to remove besides garbage.

    `checkpoints` removes all checkpoints; `older_than` removes work that was not used for this number of seconds;
    `max_size` removes the least recently used work until the store has at most this number of bytes.
    """

    checkpoints: bool = False
    older_than: float | None = None
    max_size: int | None = None


@dataclass
class Collection:
    """What was removed (or would be), by reason, and the size of the store in bytes before and after."""

    before: int
    after: int
    shares: dict[str, Usage] = field(default_factory=dict)

    def add(self, reason: str, size: int) -> None:
        self.shares.setdefault(reason, Usage()).add(size)
        self.after -= size


def take_inventory(store: Store) -> Inventory:
    """List the content of a store; damaged manifests are moved to `damaged/`."""
    inventory = Inventory([], {}, [], list(store.backend.torn()), [])
    for entry in store.backend.entries(""):
        space, _, rest = entry.name.partition("/")
        if space == "blobs":
            inventory.blobs[rest.rpartition("/")[2]] = entry
        elif space == "damaged":
            inventory.damaged.append(entry)
        elif space in ("leases", "pins") or not entry.name.endswith(".json"):
            inventory.rest.append(entry)
        else:
            key = rest.rpartition("/")[2].removesuffix(".json")
            manifest = store.find(space, key)
            if manifest is not None:
                inventory.pieces.append(_work(entry, space, key, manifest))
    order = {space: number for number, space in enumerate(_SPACES)}
    inventory.pieces.sort(key=lambda piece: order.get(piece.space, len(order)))
    return inventory


def by_space(inventory: Inventory) -> dict[str, Usage]:
    """Return the usage by space; a blob that several manifests name counts for the first of them."""
    shares = {space: Usage() for space in _SPACES}
    for piece, size in _sized(inventory.pieces, inventory):
        if inventory.is_whole(piece):
            shares.setdefault(piece.space, Usage()).add(size, piece.seconds)
        else:
            shares.setdefault(_BROKEN, Usage()).add(size)
    named = {blob for piece in inventory.pieces for blob in piece.blobs}
    unnamed = [entry for name, entry in inventory.blobs.items() if name not in named]
    for what, entries in (("unnamed blobs", unnamed), ("damaged", inventory.damaged), ("torn writes", inventory.torn)):
        shares[what] = Usage(len(entries), sum(entry.size for entry in entries))
    return shares


def by_kind(inventory: Inventory) -> dict[str, Usage]:
    """Return the usage of finished fit tasks by the kind of their member."""
    shares: dict[str, Usage] = {}
    finished = [piece for piece in inventory.pieces if piece.space == "fits" and inventory.is_whole(piece)]
    for piece, size in _sized(finished, inventory):
        shares.setdefault(piece.kind, Usage()).add(size, piece.seconds)
    return dict(sorted(shares.items()))


def collect(store: Store, rules: RetentionRules, *, dry_run: bool = False) -> Collection:
    """Remove garbage and the work that `rules` select; jobs may run on the store at the same time.

    The last use of a manifest is the time of its file, which is touched whenever a job finds it. Work that the
    holder of a lease has pinned stays, and so do blobs that were written since it took the lease. Work that was used
    within `GRACE` stays too, except checkpoints; the last use is checked again at the moment of removal. A manifest is
    removed before its blobs, so no manifest lacks a blob.
    """
    begun = time.monotonic()
    inventory, backend = take_inventory(store), store.backend
    done = Collection(inventory.size, inventory.size)
    uses = Counter(blob for piece in inventory.pieces for blob in piece.blobs)
    free = {blob: entry.size for blob, entry in inventory.blobs.items() if blob not in uses}

    def remove(entry: Entry, grace: float) -> bool:
        # An item that was touched after the inventory is young, however long the collection takes.
        looked = time.monotonic() - begun
        return entry.idle >= grace if dry_run else backend.remove_idle(entry.name, grace + looked)

    def remove_piece(piece: StoredWork, reason: str, grace: float) -> None:
        if not remove(piece.entry, grace):
            return
        uses.subtract(piece.blobs)
        orphans = [inventory.blobs[blob] for blob in piece.blobs if not uses[blob] and blob in inventory.blobs]
        gone = sum(entry.size for entry in orphans if remove(entry, grace))
        done.add(reason, piece.entry.size + gone)

    pins = pinned(backend)
    for blob in free:
        if remove(inventory.blobs[blob], max(GRACE, pins.age)):
            done.add("unnamed blobs", free[blob])
    for entry in inventory.damaged:
        if remove(entry, GRACE):
            done.add("damaged", entry.size)
    for entry in inventory.torn:
        if entry.idle >= GRACE if dry_run else backend.remove_torn(entry.name, GRACE):
            done.add("torn writes", entry.size)

    loose = [piece for piece in inventory.pieces if f"fits/{piece.key[:2]}/{piece.key}.json" not in pins.names]
    finished = {piece.key for piece in inventory.pieces if piece.space == "fits" and inventory.is_whole(piece)}
    kept = []
    for piece in loose:
        if not inventory.is_whole(piece):
            remove_piece(piece, _BROKEN, GRACE)
        elif piece.space == "checkpoints" and (rules.checkpoints or piece.key in finished):
            remove_piece(piece, "checkpoints of finished tasks" if piece.key in finished else "checkpoints", 0.0)
        elif rules.older_than is not None and piece.entry.idle >= max(rules.older_than, GRACE):
            remove_piece(piece, f"unused {piece.space}", max(rules.older_than, GRACE))
        else:
            kept.append(piece)
    for piece in sorted(kept, key=lambda piece: -piece.entry.idle):
        if rules.max_size is None or done.after <= rules.max_size:
            break
        remove_piece(piece, f"least recently used {piece.space}", GRACE)
    return done


def _sized(pieces: list[StoredWork], inventory: Inventory) -> Iterator[tuple[StoredWork, int]]:
    """Yield each piece with its size in bytes, including blobs that no earlier piece named."""
    seen: set[str] = set()
    for piece in pieces:
        own = piece.blobs - seen
        seen |= own
        yield piece, piece.entry.size + sum(inventory.blobs[blob].size for blob in own if blob in inventory.blobs)


def _work(entry: Entry, space: str, key: str, manifest: Manifest) -> StoredWork:
    """Describe a manifest of any space, also of one that this version does not know."""
    shown = {name: manifest[name] for name in ("kind", "seconds") if name in manifest}
    return StoredWork(entry, space, key, frozenset(_blobs_of(manifest)), **shown)


def _blobs_of(value: Any) -> Iterator[str]:
    """Yield all SHA-256 hashes in a manifest."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _blobs_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _blobs_of(inner)
    elif isinstance(value, str) and _HASH.fullmatch(value):
        yield value
