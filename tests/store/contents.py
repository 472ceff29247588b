"""Inspect and damage a store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.object_stores import ObjectServer

from quorate.store import Backend, Entry, open_store

KEY = "ab" * 32


class StorePlace:
    """A store of its own, on the backend that its address names."""

    def __init__(self, address: str, server: ObjectServer | None = None) -> None:
        self.address, self.server = address, server
        self.store = open_store(address)
        self.backend: Backend = self.store.backend

    def age(self, name: str, seconds: float) -> None:
        """Let an item look as if it had not been used for so long, of one that was used just now."""
        if self.server is not None:
            self.server.age(f"{self.address}/{name}", seconds)
        else:
            age(Path(self.address) / name, seconds)

    def tear(self) -> Entry:
        """Leave something behind that is not part of the content: an interrupted write, or a tombstone."""
        if self.server is not None:
            self.backend.write("fits/gone", b"1")
            assert self.backend.remove_idle("fits/gone", 0)
        else:
            (Path(self.address) / "fits").mkdir(exist_ok=True)
            (Path(self.address) / "fits" / ".new-abc").write_bytes(b"12")
        (torn,) = self.backend.torn()
        return torn

    def grow_old(self, seconds: float) -> None:
        for entry in list(self.backend.entries("")):
            self.age(entry.name, seconds)


def age(path: Path, seconds: float) -> None:
    """Make a file look as if it had not been used for this number of seconds."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def flip_a_bit(backend: Backend, name: str) -> None:
    content = backend.read(name)
    assert content is not None
    backend.write(name, content[:-1] + bytes([content[-1] ^ 1]))


def names(backend: Backend, prefix: str = "") -> list[str]:
    return list(backend.names(prefix))


def python(code: str, *arguments: str, **options) -> subprocess.Popen:
    """A process with `store` open at the first argument."""
    lines = "import os, sys, time\nfrom pathlib import Path\nfrom quorate.store import *\n"
    opened = "store = open_store(sys.argv[1])\n"
    command = [sys.executable, "-c", lines + opened + code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
