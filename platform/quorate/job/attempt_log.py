"""Write each attempt at a task to the journal: where it ran, when, and how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass

from quorate.execution.events import (
    ENDS,
    Cancelled,
    Event,
    Failed,
    Featured,
    Fitted,
    OutOfTime,
    Predicted,
    Started,
    Stopped,
)
from quorate.tracking.journal import Journal
from quorate.tracking.records import AttemptRecord, Outcome


@dataclass
class _Running:
    """An attempt that runs."""

    begun: Started
    since_ms: int
    newest_ms: int
    """When its newest event arrived."""


class AttemptLog:
    """The attempts that run now, by task; each goes to the journal when it has ended."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._running: dict[str, _Running] = {}

    def on(self, event: Event) -> None:
        key, now = event.task.key, time.time_ns() // 1_000_000
        if isinstance(event, Started):
            if (moved := self._running.pop(key, None)) is not None:  # its node was about to leave
                self._write(moved, moved.newest_ms, "stopped")
            self._running[key] = _Running(event, now, now)
        elif isinstance(event, ENDS):
            if (ended := self._running.pop(key, None)) is not None:
                self._write(ended, now, _outcome(event))
        elif key in self._running:
            self._running[key].newest_ms = now

    def _write(self, attempt: _Running, end_ms: int, outcome: Outcome) -> None:
        begun = attempt.begun
        record = AttemptRecord(
            begun.task.title, begun.attempt, begun.worker, attempt.since_ms, end_ms, outcome, begun.restored
        )
        self._journal.attempt(record)


def _outcome(event: ENDS) -> Outcome:
    match event:
        case Fitted():
            return "fitted"
        case Predicted():
            return "predicted"
        case Featured():
            return "extracted"
        case Failed():
            return event.status
        case Stopped():
            return "stopped"
        case Cancelled():
            return "cancelled"
        case OutOfTime():
            return "out of time"
