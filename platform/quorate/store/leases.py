"""Leases give a name to one holder at a time. The holder increments a counter, so no clocks are compared."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from quorate.store.backend import Backend

SILENCE = 600.0
"""Seconds without a beat after which the pins of a holder on another host are ignored: 300 beats. An assumption, not a
measurement."""


@contextlib.contextmanager
def hold(
    backend: Backend, name: str, *, waiting: Callable[[str], None], beat: float = 2.0, pins: Sequence[str] = ()
) -> Iterator[None]:
    """Hold the lease `name` exclusively; `waiting` is called with its present holder if that is somebody else.

    The holder increments a counter every `beat` seconds. It loses the lease if the counter does not change for ten
    beats on the clock of the waiting process, or if it was a process of this host that has ended. Two holders at
    once do no harm: the first commit of a piece of work stays.

    Items under the names `pins` are not collected while the lease is held, and are marked as used at the end.
    """
    place = f"leases/{name}.json"
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid()), "beats": 0}
    held = _acquire(backend, place, mine, waiting=waiting, beat=beat)
    over = threading.Event()

    def keep() -> None:
        nonlocal held
        for beats in itertools.count(1):
            if over.wait(beat):
                return
            new = json.dumps(mine | {"beats": beats}).encode()
            with contextlib.suppress(OSError):  # such as a full disk, which may have space again at the next beat
                if backend.swap(place, held, new):
                    held = new

    heart = threading.Thread(target=keep, name="lease", daemon=True)
    heart.start()
    try:
        with _pinned(backend, f"pins/{name}.json", pins):
            yield
    finally:
        over.set()
        heart.join()
        backend.swap(place, held, None)


@contextlib.contextmanager
def _pinned(backend: Backend, place: str, pins: Sequence[str]) -> Iterator[None]:
    if not pins:
        yield
        return
    backend.write(place, json.dumps(list(pins)).encode())
    try:
        yield
    finally:
        for name in pins:
            backend.touch(name)
        backend.remove(place)


def pinned(backend: Backend) -> set[str]:
    """Return the names that holders of leases have pinned; removes the lists of lost holders."""
    idle = {entry.name: entry.idle for entry in backend.entries("leases")}
    names: set[str] = set()
    for place in list(backend.names("pins")):
        lease = place.replace("pins/", "leases/", 1)
        holder, pins = backend.read(lease), backend.read(place)
        if holder is None or _is_lost(holder, idle.get(lease, 0.0)):
            backend.remove_idle(place, SILENCE)
        elif pins is not None:
            names.update(json.loads(pins))
    return names


def _is_lost(holder: bytes, idle: float) -> bool:
    """Return whether a holder has ended, or is on another host without a beat for `SILENCE` seconds."""
    if _is_gone(holder):
        return True
    elsewhere: bool = json.loads(holder)["host"] != socket.gethostname()
    return elsewhere and idle > SILENCE


def _acquire(
    backend: Backend, place: str, mine: Mapping[str, object], *, waiting: Callable[[str], None], beat: float
) -> bytes:
    """Wait until `place` is free or its holder is lost, then take it; returns the written content."""
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
    """Return whether the holder was a process of this host that has ended."""
    try:
        holder = json.loads(content)
        return bool(holder["host"] == socket.gethostname() and _born(holder["pid"]) != holder["born"])
    except (ValueError, KeyError, TypeError):
        return True


def _born(pid: int) -> str | None:
    """Return a value that distinguishes a process from a later one with the same number; None if it has ended."""
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
