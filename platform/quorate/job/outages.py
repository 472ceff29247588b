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
        self._waiting = 0
        """The number of actions that have failed and are repeated."""
        self._changing = threading.Lock()

    def call(self, action: Callable[[], T]) -> T:
        """Call `action`, which may be repeated, until the store answers; raises `StoreUnavailable` after a while."""
        begun = time.monotonic()
        try:
            return action()
        except StoreUnavailable as error:
            self._begins(error, begun)
        answered = False
        try:
            done = self._repeat(action)
            answered = True
            return done
        finally:
            self._ends(answered=answered)

    def _repeat(self, action: Callable[[], T]) -> T:
        while True:
            time.sleep(_PAUSE_SECONDS)
            try:
                return action()
            except StoreUnavailable as error:
                if self._is_final(error):
                    raise

    def _is_final(self, error: StoreUnavailable) -> bool:
        since = self._since or time.monotonic()
        return not error.may_pass or self._stopping() or time.monotonic() - since > MOST_SECONDS

    def _begins(self, error: StoreUnavailable, since: float) -> None:
        """Report the beginning of an outage; raises the error if it is not worth waiting."""
        if self._is_final(error):
            raise error
        with self._changing:
            first, self._since = self._since is None, self._since or since
            self._waiting += 1
        if first:
            self._say(
                f"{error}. Training goes on, and the rest is done when the store answers again; the job waits for up "
                f"to {format_seconds(MOST_SECONDS)}"
            )

    def _ends(self, *, answered: bool) -> None:
        with self._changing:
            self._waiting -= 1
            if not answered or self._waiting or self._since is None:
                return
            seconds, self._since = time.monotonic() - self._since, None
        self._say(f"the store answers again after {format_seconds(seconds)}")
