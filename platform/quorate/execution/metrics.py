"""The figures of a job for the monitoring of its cluster."""

from __future__ import annotations

from typing import Literal, Protocol

GaugeName = Literal["queue_length", "tasks_running", "seconds_left"]
CounterName = Literal["epochs", "retries", "bytes_written"]


class MetricSink(Protocol):
    """Takes figures and exports them."""

    def set(self, name: GaugeName, value: float) -> None:
        """Set the present value of a figure."""

    def add(self, name: CounterName, amount: float) -> None:
        """Increase a total."""


class NoMetrics:
    """A `MetricSink` without an export."""

    def set(self, name: GaugeName, value: float) -> None: ...

    def add(self, name: CounterName, amount: float) -> None: ...
