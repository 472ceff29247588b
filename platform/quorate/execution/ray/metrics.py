"""Export the figures of a job through the metrics of Ray, which Prometheus reads from each node.

Ray names them `ray_quorate_queue_length` and so on, and Prometheus appends `_total` to those of counters.
"""

from __future__ import annotations

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from quorate.execution.metrics import CounterName, GaugeName

_GAUGES: Mapping[GaugeName, str] = {
    "queue_length": "Tasks of the job that wait for a worker.",
    "tasks_running": "Tasks of the job that run.",
    "seconds_left": "Estimated seconds until all tasks of the job have ended.",
}
_COUNTERS: Mapping[CounterName, str] = {
    "epochs": "Epochs that networks of the job have trained.",
    "retries": "Attempts at tasks that failed and are repeated.",
    "bytes_written": "Bytes of results and checkpoints.",
}


class RayMetrics:
    """A `MetricSink` with the name of the run as the tag `run`."""

    def __init__(self, run: str) -> None:
        self._tags = {"run": run}
        self._gauges = {name: Gauge(f"quorate_{name}", text, ("run",)) for name, text in _GAUGES.items()}
        self._counters = {name: Counter(f"quorate_{name}", text, ("run",)) for name, text in _COUNTERS.items()}

    def set(self, name: GaugeName, value: float) -> None:
        self._gauges[name].set(value, self._tags)

    def add(self, name: CounterName, amount: float) -> None:
        if amount > 0:
            self._counters[name].inc(amount, self._tags)
