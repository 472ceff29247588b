"""Wait while the store cannot be reached, and say so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from quorate.quantities import format_seconds
from quorate.store import StoreUnavailable

MOST_SECONDS = 600.0
"""Seconds without an answer of the store after which a job ends. An assumption."""

_PAUSE_SECONDS = 2.0
"""Pause before the next try. An assumption; a try on an object store that is away takes about 20 s."""

T = TypeVar("T")


class StoreOutages:
    """Repeats what fails because the store cannot be reached; for several threads.

    `say` prints a line at the beginning and at the end of an outage. A full disk and refused credentials are no
    outages, and nothing is repeated when the job is `stopping`.
    """

    def __init__(self, say: Callable[[str], None], *, stopping: Callable[[], bool]) -> None:
        self._say, self._stopping = say, stopping
        self._since: float | None = None
        self._changing = threading.Lock()

    def sit_out(self, action: Callable[[], T]) -> T:
        """Call `action`, which may be repeated, until the store answers; raises `StoreUnavailable` after a while."""
        while True:
            begun = time.monotonic()
            try:
                done = action()
            except StoreUnavailable as error:
                if not error.may_pass or self._lasts_too_long(error, begun):
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                self._is_over()
                return done

    def _lasts_too_long(self, error: StoreUnavailable, begun: float) -> bool:
        with self._changing:
            first, self._since = self._since is None, self._since or begun
            since = self._since
        if self._stopping():
            return True
        if first:
            self._say(
                f"{error}. Training goes on, and results are written when the store answers again; the job waits for "
                f"up to {format_seconds(MOST_SECONDS)}"
            )
        return time.monotonic() - since > MOST_SECONDS

    def _is_over(self) -> None:
        with self._changing:
            since, self._since = self._since, None
        if since is not None:
            self._say(f"the store answers again after {format_seconds(time.monotonic() - since)}")
