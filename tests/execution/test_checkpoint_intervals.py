"""How often a network is checkpointed, from what its checkpoints cost."""

from __future__ import annotations

import time

import pytest
from tests.execution.jobs import CNN, plan_of

from quorate.execution import attempt
from quorate.execution.assignment import Assignment, Control
from quorate.execution.content import Content
from quorate.execution.events import Checkpointed, Reported
from quorate.execution.stream import stream

OUTAGE = 0.5


def test_one_slow_checkpoint_does_not_delay_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "_COST_OF_CHECKPOINTS", 1.0)  # the interval is the cost
    plan = plan_of({"cnn": {**CNN, "epochs": 30}}, validation={"scheme": "holdout", "fraction": 0.3})
    written: list[float] = []

    def write(content: bytes) -> Content:
        time.sleep(OUTAGE if len(written) == 1 else 0.0)
        written.append(time.monotonic())
        return content

    events = list(stream([Assignment(plan.tasks[0], 1, 0.0)], plan.context, Control(), write=write))

    assert sum(isinstance(event, Reported) for event in events) == 30
    assert sum(isinstance(event, Checkpointed) for event in events) > 10


def test_checkpoints_that_are_always_slow_take_a_small_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "_COST_OF_CHECKPOINTS", 0.01)
    plan = plan_of({"cnn": {**CNN, "epochs": 30}}, validation={"scheme": "holdout", "fraction": 0.3})

    def write(content: bytes) -> Content:
        time.sleep(0.1)  # a hundred times that is longer than the training
        return content

    events = list(stream([Assignment(plan.tasks[0], 1, 0.0)], plan.context, Control(), write=write))

    assert sum(isinstance(event, Checkpointed) for event in events) == 1
