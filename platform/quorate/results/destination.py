"""Let workers write the blobs of their results to the store of the job themselves."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from quorate.execution.content import Content, ContentWriter, WrittenBlob
from quorate.store import Store, reached, variables_of

_PAUSE_SECONDS = 60.0
"""Seconds after a failed write in which a worker leaves its bytes to the driver: a write to an object store that is
away fails only after about 20 s, in which the task does not go on. An assumption."""


@dataclass(frozen=True)
class StoreDestination:
    """The address of the store, a nonce that the driver has written there, and the variables with the credentials."""

    address: str
    nonce: str
    variables: Mapping[str, str] = field(repr=False)

    def connect(self) -> ContentWriter:
        return _StoreWriter(self)


@contextlib.contextmanager
def destination_in(store: Store) -> Iterator[StoreDestination]:
    """The destination for the workers of a session; its nonce is removed at the end."""
    with store.challenge() as nonce:
        yield StoreDestination(store.address, nonce, variables_of(store.address))


class _StoreWriter:
    """Writes contents to the store if this process reaches it; a thread finds this out while the first task begins."""

    def __init__(self, where: StoreDestination) -> None:
        self._store: Store | None = None
        self._not_before = 0.0
        os.environ.update(where.variables)
        self._looking = threading.Thread(target=self._look, args=(where,), name="store", daemon=True)
        self._looking.start()

    def __call__(self, content: bytes) -> Content:
        self._looking.join()
        if self._store is None or time.monotonic() < self._not_before:
            return content
        try:
            return WrittenBlob(self._store.put(content), len(content))
        except OSError:  # the driver tries as well, and reports what is wrong
            self._not_before = time.monotonic() + _PAUSE_SECONDS
            return content

    def _look(self, where: StoreDestination) -> None:
        self._store = reached(where.address, where.nonce)
