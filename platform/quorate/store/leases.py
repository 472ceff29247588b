"""A lease: one holder of a name at a time, told by a counter that it raises; no clocks are compared."""

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
"""Seconds without a beat after which a holder on another host no longer protects what it pinned."""


@contextlib.contextmanager
def hold(
    backend: Backend, name: str, *, waiting: Callable[[str], None], beat: float = 2.0, pins: Sequence[str] = ()
) -> Iterator[None]:
    """Hold `name` alone; `waiting` is told who holds it while it is somebody else.

    The holder raises a counter every `beat` seconds. One whose counter stands still for ten beats
    of the waiting side's own clock, or that is a process of this host which has ended, has lost
    the lease. Two holders at once do no harm: the first commit of a piece of work stays.

    What is stored under the names `pins` is not to be collected meanwhile, and counts as used at the end.
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
            with contextlib.suppress(OSError):  # such as a full disk: the next beat may have room again
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
    """What the holders of leases have pinned; a list that a lost holder left behind is removed."""
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
    """Whether a holder has ended, or is on another host and has long been silent."""
    if _is_gone(holder):
        return True
    elsewhere: bool = json.loads(holder)["host"] != socket.gethostname()
    return elsewhere and idle > SILENCE


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
