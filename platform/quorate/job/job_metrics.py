"""Give the figures of a training to the monitoring of the cluster."""

from __future__ import annotations

import time

from quorate.execution.content import size_of
from quorate.execution.events import Checkpointed, Event, Failed, Fitted, Reported
from quorate.execution.metrics import MetricSink
from quorate.report.progress import Watch

_EVERY_SECONDS = 1.0
"""Seconds between two updates of the gauges; Prometheus reads them every 15 s or so."""


class JobMetrics:
    """Counts what events report; reads the queue and the time left from the progress."""

    def __init__(self, sink: MetricSink, watch: Watch) -> None:
        self._sink, self._watch = sink, watch
        self._update_at = 0.0

    def on(self, event: Event, size: int) -> None:
        """Handle an event that comes with `size` bytes of results or states."""
        if isinstance(event, Reported):
            self._sink.add("epochs", 1)
        elif isinstance(event, Failed) and not event.final:
            self._sink.add("retries", 1)
        self._sink.add("bytes_written", size)
        if time.monotonic() >= self._update_at:
            self._update_at = time.monotonic() + _EVERY_SECONDS
            self.update()

    def update(self) -> None:
        """Set the gauges; call it once more after the last event."""
        self._sink.set("queue_length", self._watch.waiting)
        self._sink.set("tasks_running", self._watch.running)
        left = self._watch.seconds_left()
        if left is not None:
            self._sink.set("seconds_left", left)


def bytes_of(event: Event) -> int:
    """The bytes of the files or the state that an event brings, wherever they are."""
    if isinstance(event, Checkpointed):
        return size_of(event.content)
    return sum(size_of(one) for part in event.all for one in part.files.values()) if isinstance(event, Fitted) else 0
