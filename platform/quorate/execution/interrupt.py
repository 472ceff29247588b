"""Handle Ctrl-C, SIGTERM and a closed terminal: running tasks checkpoint, and the command ends within ten seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
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
        """Install the signal handlers; call it again after a library has installed its own.

        A closed terminal (SIGHUP) counts as a signal too, unless the command was started with `nohup`.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
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
        timer = threading.Timer(_GRACE_SECONDS, _end_at_once, [signum])
        timer.daemon = True
        timer.start()
        if self._session is None:
            raise Interrupted(signum)
        self._session.stop()


def _end_at_once(signum: int) -> None:
    """End the process although a task still runs."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        sys.stdout.flush()
        print(
            f"interrupted ({Interrupted(signum)}); a task did not stop within {_GRACE_SECONDS} s and was given up; "
            "finished tasks and checkpoints are kept; run the same command to continue",
            file=sys.stderr,
            flush=True,
        )
    os._exit(128 + signum)
