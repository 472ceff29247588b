"""Leases: at most one process holds a name at a time. It increments a counter, so that no clocks are compared."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from quorate.store.backend import Backend
from quorate.store.lease_record import HELD, LeaseHolder, LeaseRecord, is_gone, is_here, this_process

SILENCE = 600.0
"""Seconds without a beat after which the pins of a holder on another host are ignored: 300 beats. An assumption, not a
measurement."""

BEAT = 2.0
"""Seconds between two writes of a holder's counter. An assumption, not a measurement."""

_LOST_BEATS = 10
"""Beats without a change after which a lease may be taken, on the clock of the process that waits."""

_SUSPENDED_BEATS = 3
"""Beats without a confirmed write after which a holder reads its lease again, because it may have been suspended."""

_TOUCHES_AT_ONCE = 16
"""Threads that mark pinned items as used; a request to an object store takes tens of milliseconds."""


class LeaseWatch:
    """Observes the lease of another process."""

    def __init__(self, backend: Backend, name: str, holder: LeaseHolder, *, beat: float = BEAT) -> None:
        self._backend, self._place, self._token, self._beat = backend, _place(name), holder.token, beat
        self._seen, self._since = LeaseRecord(0), time.monotonic()

    def holder(self) -> LeaseHolder | None:
        """The process as it describes itself now; None if it has released the lease, lost it or ended."""
        record = LeaseRecord.of(self._backend.read(self._place))
        if record != self._seen:
            self._seen, self._since = record, time.monotonic()
        holder = record.holder
        if holder is None or holder.token != self._token or is_gone(holder):
            return None
        return holder if time.monotonic() - self._since <= _LOST_BEATS * self._beat else None


class LeaseLost(RuntimeError):
    """Another process took the lease, because this one was suspended or could not reach the store."""

    def __init__(self, holder: LeaseHolder | None) -> None:
        self.holder = holder
        since = f" since {holder.since}" if holder is not None and holder.since else ""
        super().__init__(f"{holder} holds the lease{since}" if holder is not None else "the lease was removed")


class Lease:
    """A lease that this process holds. A thread increments its counter and notices when the lease was taken."""

    def __init__(
        self, backend: Backend, place: str, *, beat: float = BEAT, lost: Callable[[LeaseLost], None] | None = None
    ) -> None:
        self.number = 0
        """The fencing number of this acquisition."""
        self._backend, self._place, self._beat, self._on_lost = backend, place, beat, lost
        self._holder = this_process()
        self._content = b""
        self._news = 0.0
        self._lost: LeaseLost | None = None
        self._losing = threading.Lock()

    @property
    def token(self) -> str:
        """A random text for this acquisition."""
        return self._holder.token

    def check(self) -> None:
        """Raise `LeaseLost` if another process has taken the lease.

        Reads the store if there was no beat for a while, for example after a suspension; raises `StoreUnavailable` if
        the store cannot be reached then.
        """
        if self._lost is None and time.monotonic() - self._news > _SUSPENDED_BEATS * self._beat:
            self._look()
            self._news = time.monotonic()
        if self._lost is not None:
            raise self._lost

    def say(self, about: str) -> None:
        """Say something about the work of this holder; others can read it after the next beat."""
        self._holder = replace(self._holder, about=about)

    def acquire(self, waiting: Callable[[str], None], busy: Callable[[LeaseHolder], None] | None = None) -> None:
        """Wait until the lease is free or its holder is lost, then take it.

        Calls `waiting` with a holder that has not ended, and `busy` when it has shown that it works.
        """
        seen, since, told = None, time.monotonic(), False
        while True:
            present = self._backend.read(self._place)
            record = LeaseRecord.of(present)
            silent = present == seen and time.monotonic() - since > _LOST_BEATS * self._beat
            if record.holder is None or is_gone(record.holder) or silent:
                mine = LeaseRecord(record.number + 1, self._holder)
                if self._backend.swap(self._place, present, mine.to_bytes()):
                    self.number, self._content, self._news = mine.number, mine.to_bytes(), time.monotonic()
                    return
                continue
            if present != seen:
                if seen is not None and busy is not None:
                    busy(record.holder)
                seen, since = present, time.monotonic()
            if not told:
                waiting(str(record.holder))
                told = True
            time.sleep(min(self._beat / 4, 0.5))

    def keep(self, over: threading.Event) -> None:
        """Increment the counter until `over` is set or the lease is lost."""
        beats = 0
        while self._lost is None and not over.wait(self._beat):
            beats += 1
            with contextlib.suppress(OSError):  # such as a full disk, which may have space again at the next beat
                self.increment(beats)

    def increment(self, beats: int) -> None:
        """Write the counter once."""
        content = LeaseRecord(self.number, self._holder, beats).to_bytes()
        if self._backend.swap(self._place, self._content, content):
            self._content, self._news = content, time.monotonic()
        elif (own := self._look()) is not None:
            self._content = own

    def release(self) -> None:
        """Free the lease, and keep its number; does nothing if it was lost."""
        if self._lost is None:
            self._backend.swap(self._place, self._content, LeaseRecord(self.number).to_bytes())

    def _look(self) -> bytes | None:
        """Read the lease; return its content if this process still holds it, else None.

        It may hold it although a write has failed: the answer to an earlier write may have been lost.
        """
        present = self._backend.read(self._place)
        record = LeaseRecord.of(present)
        if present is not None and record.holder is not None and record.holder.token == self.token:
            return present
        with self._losing:
            first, self._lost = self._lost is None, self._lost or LeaseLost(record.holder)
        if first and self._on_lost is not None:
            self._on_lost(self._lost)
        return None


@contextlib.contextmanager
def hold(
    backend: Backend,
    name: str,
    *,
    waiting: Callable[[str], None],
    busy: Callable[[LeaseHolder], None] | None = None,
    beat: float = BEAT,
    pins: Sequence[str] = (),
    lost: Callable[[LeaseLost], None] | None = None,
) -> Iterator[Lease]:
    """Hold the lease `name` exclusively; `waiting` is called with its present holder if that is somebody else.

    `busy` is called whenever that holder has written its counter; it may raise an error, which ends the wait.

    The holder increments a counter every `beat` seconds. Another process takes the lease if the counter does not
    change for ten beats on its own clock, or if the holder was a process of its host that has ended. The holder
    notices this at its next beat that reaches the store; then `lost` is called once, from another thread, and
    `Lease.check` raises. Two holders at the same time do no harm, because the first commit of a key is kept.

    Items under the names `pins` are not collected while the lease is held, and are marked as used at the end.
    """
    lease = Lease(backend, _place(name), beat=beat, lost=lost)
    HELD.add(lease.token)
    try:
        lease.acquire(waiting, busy)
        over = threading.Event()
        heart = threading.Thread(target=lease.keep, args=(over,), name="lease", daemon=True)
        heart.start()
        try:
            with _pinned(backend, f"pins/{name}.json", pins):
                yield lease
        finally:
            over.set()
            heart.join()
            with contextlib.suppress(OSError):  # a process on another machine waits for ten beats then
                lease.release()
    finally:
        HELD.discard(lease.token)


def _place(name: str) -> str:
    return f"leases/{name}.json"


@contextlib.contextmanager
def _pinned(backend: Backend, place: str, pins: Sequence[str]) -> Iterator[None]:
    if not pins:
        yield
        return
    backend.write(place, json.dumps(list(pins)).encode())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # an unreachable store must not hide what ended the work
            with ThreadPoolExecutor(_TOUCHES_AT_ONCE) as threads:
                list(threads.map(backend.touch, pins))
            backend.remove(place)


@dataclass(frozen=True)
class Pins:
    """What the holders of leases need."""

    names: frozenset[str]
    """Items that must not be collected."""
    age: float
    """Seconds since the first of the holders took its lease; their workers may have written blobs since then that no
    manifest names yet."""


def pinned(backend: Backend) -> Pins:
    """Return the pins of the holders of leases; removes the lists of lost holders."""
    idle = {entry.name: entry.idle for entry in backend.entries("leases")}
    names: set[str] = set()
    age = 0.0
    for entry in list(backend.entries("pins")):
        lease = entry.name.replace("pins/", "leases/", 1)
        holder, pins = LeaseRecord.of(backend.read(lease)).holder, backend.read(entry.name)
        if holder is None or _is_lost(holder, idle.get(lease, 0.0)):
            backend.remove_idle(entry.name, SILENCE)
        elif pins is not None:
            names.update(json.loads(pins))
            age = max(age, entry.idle)
    return Pins(frozenset(names), age)


def _is_lost(holder: LeaseHolder, idle: float) -> bool:
    """Return whether a holder has ended, or is on another host without a beat for `SILENCE` seconds."""
    return is_gone(holder) or (not is_here(holder) and idle > SILENCE)
