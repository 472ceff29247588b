"""What Python imports first on the hosts of chaos tests: a clock that can be moved, and a signal that ends a process.

- `time.time` and `time.time_ns` add the seconds in the file CHAOS_CLOCK, if there is one. Other clocks do not change,
  as when an administrator sets the date.
- SIGUSR2 calls `_exit` of the C library at once, as `os._exit` in native code would; the exit code is 12.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time

_real, _real_ns, _file = time.time, time.time_ns, os.environ.get("CHAOS_CLOCK", "")


def _offset() -> int:
    try:
        with open(_file) as file:  # noqa: PTH123 - this runs at each look at the clock
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0


if _file:
    time.time = lambda: _real() + _offset()
    time.time_ns = lambda: _real_ns() + _offset() * 1_000_000_000
    _libc = ctypes.CDLL(None)
    _libc.signal.argtypes, _libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    _libc.signal(signal.SIGUSR2, ctypes.cast(_libc._exit, ctypes.c_void_p))
