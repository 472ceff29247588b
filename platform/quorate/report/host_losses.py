"""Say that a host was lost and where its task starts again in one sentence."""

from __future__ import annotations

import time
from collections.abc import Iterator

from quorate.execution.events import Failed, Started

_SECONDS = 3.0
"""Seconds in which a task that was lost with its host can start elsewhere before its loss is told: a new worker takes
about 2 s to start."""


class HostLosses:
    """The tasks that were lost with their host and have not started again."""

    def __init__(self) -> None:
        self._lost: dict[str, tuple[Failed, float]] = {}
        """By the key of the task, with the time."""

    def add(self, event: Failed) -> None:
        self._lost[event.task.key] = event, time.monotonic()

    def restarted(self, event: Started, start: str) -> str:
        """The sentence about the loss and the restart of a task; empty if its loss was told before, or if there was
        none."""
        if event.task.key not in self._lost:
            return ""
        lost, _ = self._lost.pop(event.task.key)
        host = event.worker.rpartition(":")[0] or event.worker
        return f"{lost.message}; {event.task.title} restarts on {host} from {start}"

    def waiting(self) -> Iterator[str]:
        """The sentences about tasks that have not started again for a while, each once."""
        late = time.monotonic() - _SECONDS
        for key, (lost, since) in list(self._lost.items()):
            if since < late:
                del self._lost[key]
                yield f"{lost.message}; {lost.task.title} waits for a worker"
