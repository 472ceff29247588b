"""The figures of a training for the monitoring of a cluster."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.tiny import plan_of

from quorate.execution.content import WrittenBlob
from quorate.execution.events import Checkpointed, Failed, Fitted, Reported
from quorate.job.job_metrics import JobMetrics, bytes_of
from quorate.plan.tasks import FitTask


class Sink:
    """Keeps the figures."""

    def __init__(self) -> None:
        self.gauges: dict[str, float] = {}
        self.totals: Counter[str] = Counter()

    def set(self, name: str, value: float) -> None:
        self.gauges[name] = value

    def add(self, name: str, amount: float) -> None:
        self.totals[name] += amount  # type: ignore[assignment]


@pytest.fixture
def task() -> FitTask:
    return plan_of("{svm: {kind: svm}}").tasks[0]


def watch(left: float | None) -> Any:
    return SimpleNamespace(waiting=4, running=2, seconds_left=lambda: left)


def test_epochs_retries_and_bytes_are_counted(task: FitTask) -> None:
    sink = Sink()
    metrics = JobMetrics(sink, watch(12.5))
    events = [
        Reported(task, 1, {}),
        Reported(task, 2, {}),
        Checkpointed(task, WrittenBlob("a", 70)),
        Failed(task, 1, "lost", "the worker died", final=False),
        Failed(task, 2, "failed", "an error"),
        Fitted(task, np.zeros((1, 2), np.float32), [], {"a": b"12345", "b": WrittenBlob("b", 1000)}, 1.0, True),
    ]

    for event in events:
        metrics.on(event, bytes_of(event))

    assert sink.totals == {"epochs": 2, "retries": 1, "bytes_written": 70 + 5 + 1000}
    assert sink.gauges == {"queue_length": 4, "tasks_running": 2, "seconds_left": 12.5}


def test_an_unknown_time_left_is_not_set() -> None:
    sink = Sink()

    JobMetrics(sink, watch(None)).update()

    assert sink.gauges == {"queue_length": 4, "tasks_running": 2}
