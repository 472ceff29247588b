"""The clock of a job's records: the time of day at the start of the process, plus the time since then.

The time of day can be set back while a job runs; then a task would end before it begins.
"""

from __future__ import annotations

import time

_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A clock that cannot be set and that goes on while the machine sleeps; on macOS, the monotonic clock does both."""
_OFFSET = time.time_ns() - time.clock_gettime_ns(_ELAPSED)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return (_OFFSET + time.clock_gettime_ns(_ELAPSED)) // 1_000_000
