"""When this command began, the start of Python and its imports counted in."""

from __future__ import annotations

import os
import time
from pathlib import Path

_IMPORTED = time.monotonic()
_first = True


def began() -> float:
    """On the clock of `time.monotonic`: the start of the process, or now where it has run a command before."""
    global _first
    first, _first = _first, False
    return process_start() if first else time.monotonic()


def process_start() -> float:
    """On the clock of `time.monotonic`; where the system does not tell, when this module was imported."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return _IMPORTED
    start = time.monotonic() - age
    return start if start <= _IMPORTED and age >= 0 else _IMPORTED
