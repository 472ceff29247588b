"""The time at which this command started, including the start of Python and its imports."""

from __future__ import annotations

import os
import time
from pathlib import Path

_IMPORTED = time.monotonic()
_first = True


def began() -> float:
    """The start time of this command in seconds of `time.monotonic`: that of the process, or now for a later command in
    the same process."""
    global _first
    first, _first = _first, False
    return process_start() if first else time.monotonic()


def process_start() -> float:
    """The start time of the process in seconds of `time.monotonic`; if it is not available, the time when this module
    was imported."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return _IMPORTED
    start = time.monotonic() - age
    return start if start <= _IMPORTED and age >= 0 else _IMPORTED
