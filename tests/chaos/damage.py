"""Damage blobs of a store, as a bad disk does: the names of the blobs stay."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from quorate.results.records import CheckpointRecord, FitRecord
from quorate.store import Store

Damage = Callable[[bytes, int], bytes]
"""Returns a damaged content; the number chooses how."""


def truncated(content: bytes, target: int) -> bytes:
    return content[: random.Random(target).randrange(len(content))]


def flipped(content: bytes, target: int) -> bytes:
    """The content with one other bit."""
    at = target % len(content)
    return content[:at] + bytes([content[at] ^ 1 << target % 8]) + content[at + 1 :]


def damage_checkpoint(store: Store, key: str, how: Damage, target: int) -> bool:
    """Damage the newest checkpoint of a task; False if it has none."""
    saved = store.find(CheckpointRecord.space, key)
    return saved is not None and _damage(store, CheckpointRecord.read(saved).state, how, target)


def damage_result(store: Store, keys: Iterable[str], how: Damage, target: int) -> bool:
    """Damage a blob of a task that has ended; False if none has."""
    found: list[str] = []
    for key in sorted(keys):
        if (saved := store.find(FitRecord.space, key)) is not None:
            record = FitRecord.read(saved)
            found += [record.valid, record.history, *sorted(record.files.values())]
    return bool(found) and _damage(store, found[target % len(found)], how, target)


def _damage(store: Store, blob: str, how: Damage, target: int) -> bool:
    name = f"blobs/{blob[:2]}/{blob}"
    content = store.backend.read(name)
    if content is None:  # a newer checkpoint has just replaced it
        return False
    store.backend.write(name, how(content, target))
    return True
