"""Handle Ctrl-C and SIGTERM: running tasks checkpoint, and the command ends within ten seconds."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

from quorate.errors import Interrupted

if TYPE_CHECKING:
    from quorate.execution.base import Session  # imports torch, which takes seconds

_GRACE_SECONDS = 8.5
"""Seconds after a signal until the process ends even if a task has not stopped, and after `halt` until such a task is
given up: a command ends within ten seconds."""


class StopRequest:
    """Calls a session's `stop` on a signal, or raises `Interrupted` if nothing runs.

    A task that cannot stop in time (one long call into a library) does not delay the command: the process ends at
    once. Nothing is lost, because the store holds only complete results.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._session: Session | None = None
        self._halted = False

    def install(self) -> None:
        """Install the signal handlers; call it again after a library has installed its own."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def attach(self, session: Session | None) -> None:
        """Set the session that signals stop."""
        self._session = session
        if self._halted and session is not None:
            session.stop(within=_GRACE_SECONDS)

    def halt(self) -> None:
        """Stop the running tasks as a signal would, and give up those that have not stopped in time; the caller reports
        the reason. May be called from any thread."""
        self._halted = True
        if (session := self._session) is not None:
            session.stop(within=_GRACE_SECONDS)

    @property
    def requested(self) -> bool:
        """Whether there was a signal or a call of `halt`."""
        return self._halted or self.signum is not None

    def check(self) -> None:
        if self.signum is not None:
            raise Interrupted(self.signum)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            return
        self.signum = signum
        timer = threading.Timer(_GRACE_SECONDS, os._exit, [128 + signum])
        timer.daemon = True
        timer.start()
        if self._session is None:
            raise Interrupted(signum)
        self._session.stop()
