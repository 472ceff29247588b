"""Write each attempt at a task to the journal: where it ran, when, and how it ended."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
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
from quorate.plan.tasks import FitTask, Task
from quorate.tracking.job_clock import now_ms
from quorate.tracking.journal import Journal
from quorate.tracking.records import AttemptRecord, Outcome


@dataclass
class _Running:
    """An attempt that runs."""

    begun: Started
    queued_ms: int | None
    """When its task began to wait; None if this is not known."""
    since_ms: int
    newest_ms: int
    """When its newest event arrived."""


class AttemptLog:
    """The attempts that run now, by task; each goes to the journal when it has ended."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._running: dict[str, _Running] = {}
        self._queued: dict[str, int] = {}
        """When waiting tasks began to wait."""
        self._waits: list[float] = []
        """How long fit tasks waited for a worker, in seconds."""
        self.ended: list[AttemptRecord] = []
        """The attempts that have ended, in the order of their ends."""

    def queued(self, tasks: Iterable[Task]) -> None:
        """Note that these tasks wait for a worker from now on."""
        now = now_ms()
        self._queued |= {task.key: now for task in tasks}

    def on(self, event: Event) -> None:
        key, now = event.task.key, now_ms()
        if isinstance(event, Started):
            if (moved := self._running.pop(key, None)) is not None:  # its node was about to leave
                self._write(moved, moved.newest_ms, "stopped")
                self._queued[key] = moved.newest_ms
            queued = self._queued.pop(key, None)
            self._running[key] = _Running(event, queued, now, now)
            if queued is not None and isinstance(event.task, FitTask):
                self._waits.append((now - queued) / 1000)
        elif isinstance(event, ENDS):
            if (ended := self._running.pop(key, None)) is not None:
                self._write(ended, now, _outcome(event))
            if isinstance(event, Failed) and not event.final:
                self._queued[key] = now
        elif key in self._running:
            self._running[key].newest_ms = now

    def close(self) -> None:
        """Write the attempts that the end of the job has interrupted."""
        while self._running:
            _, attempt = self._running.popitem()
            self._write(attempt, attempt.newest_ms, "stopped")

    def summary(self) -> dict[str, str]:
        """Tags of the job: the numbers of attempts and of hosts that ran them, and the waits of fit tasks."""
        tags = {
            "quorate.attempts": str(len(self.ended)),
            "quorate.lost_attempts": str(sum(one.outcome == "lost" for one in self.ended)),
            "quorate.hosts": str(len({one.host for one in self.ended})),
        }
        if self._waits:
            tags["quorate.queue_seconds_median"] = f"{statistics.median(self._waits):.1f}"
            tags["quorate.queue_seconds_longest"] = f"{max(self._waits):.1f}"
        return tags

    def _write(self, attempt: _Running, end_ms: int, outcome: Outcome) -> None:
        begun = attempt.begun
        record = AttemptRecord(
            task=begun.task.title,
            attempt=begun.attempt,
            worker=begun.worker,
            start_ms=attempt.since_ms,
            end_ms=end_ms,
            outcome=outcome,
            restored=begun.restored,
            queued_ms=attempt.queued_ms,
        )
        self._journal.attempt(record)
        self.ended.append(record)


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
