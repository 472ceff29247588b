"""Inspect and damage a store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from quorate.store import Backend

KEY = "ab" * 32


def flip_a_bit(backend: Backend, name: str) -> None:
    content = backend.read(name)
    assert content is not None
    backend.write(name, content[:-1] + bytes([content[-1] ^ 1]))


def age(path: Path, seconds: float) -> None:
    """Make a file look as if it had not been used for this number of seconds."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def names(backend: Backend, prefix: str = "") -> list[str]:
    return list(backend.names(prefix))


def python(code: str, *arguments: str, **options) -> subprocess.Popen:
    """A process with `store` open at the first argument."""
    lines = "import os, sys, time\nfrom pathlib import Path\nfrom quorate.store import LocalBackend, Store\n"
    opened = "store = Store(LocalBackend(Path(sys.argv[1])))\n"
    command = [sys.executable, "-c", lines + opened + code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
