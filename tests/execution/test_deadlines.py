"""Executors under a budget: networks stop with their best, the rest is given up in time, and both can go on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from sklearn.metrics import log_loss
from tests.execution.jobs import CNN, fitted, hashes, plan_of, run

from quorate.execution.assignment import Assignment, Control
from quorate.execution.base import Executor, Policy, Session
from quorate.execution.budget import Agenda, Budget
from quorate.execution.estimates import Estimates
from quorate.execution.events import Event, OutOfTime, Reported, Started
from quorate.execution.local import LocalExecutor
from quorate.execution.stream import at_work, stream


class FromFirstStart:
    """An agenda whose clock begins with the first task, however long workers take to start."""

    def __init__(self, seconds: float) -> None:
        self.budget = Budget(1e6, time.monotonic())
        self.agenda = Agenda(self.budget, Estimates(), lambda task: 1.0)
        self._seconds, self._begun = seconds, False

    def on(self, event: Event, session: Session) -> None:
        if isinstance(event, Started) and not self._begun:
            self._begun = True
            self.budget.seconds, self.budget.began = self._seconds, time.monotonic()


@dataclass(frozen=True)
class Steered(Agenda):
    """An agenda whose networks are due when a test says so."""

    due: list[float] = field(default_factory=list)

    @classmethod
    def without_end(cls) -> Steered:
        return cls(Budget(1e6, time.monotonic()), Estimates(), lambda task: 1.0)

    def seconds_left(self) -> float:
        return min(self.due) - time.monotonic() if self.due else super().seconds_left()


def late(events: list[Event]) -> list[OutOfTime]:
    return [event for event in events if isinstance(event, OutOfTime)]


def test_a_network_stops_at_its_deadline_with_its_best_epoch_and_resumes_to_the_same_bits(executor: Executor) -> None:
    # given: a deadline that comes with the third epoch, whatever the speed
    plan = plan_of({"cnn": {**CNN, "epochs": 60}}, validation={"scheme": "holdout", "fraction": 0.3})
    undisturbed = hashes(run(LocalExecutor(), plan))
    steered, checkpoints = Steered.without_end(), {}

    def due_now(event: Event, session: Session) -> None:
        if isinstance(event, Reported) and event.epoch == 3:
            steered.due.append(time.monotonic())

    # when
    cut = run(executor, plan, on=due_now, checkpoints=checkpoints, agenda=steered)

    # then
    (stopped,) = fitted(cut).values()
    assert not stopped.complete and 3 <= len(stopped.history) < 60
    y = plan.context.train.y[plan.context.folds[0].valid]
    best = min(epoch["valid_loss"] for epoch in stopped.history)
    proba = stopped.valid / stopped.valid.sum(axis=1, keepdims=True, dtype=np.float64)
    assert log_loss(y, proba, labels=range(10)) == pytest.approx(best, abs=0.02)
    assert checkpoints
    again = run(LocalExecutor(), plan, checkpoints=checkpoints)
    assert any(event.restored for event in again if isinstance(event, Started))
    assert hashes(again) == undisturbed


def test_a_network_stopped_in_its_first_epoch_gives_nothing_and_keeps_its_checkpoint(executor: Executor) -> None:
    cnn = {**CNN, "arch": {"kind": "small_cnn", "width": 128}, "epochs": 5, "batch_size": 2}
    plan = plan_of({"cnn": cnn}, validation={"scheme": "holdout", "fraction": 0.3})
    steered = Steered.without_end()

    def due_now(event: Event, session: Session) -> None:
        if isinstance(event, Started):
            steered.due.append(time.monotonic())

    checkpoints: dict[str, bytes] = {}
    events = run(executor, plan, on=due_now, agenda=steered, checkpoints=checkpoints)

    assert not fitted(events)
    (stopped,) = late(events)
    assert stopped.begun and "before its first epoch had ended" in stopped.message
    assert checkpoints


def test_a_deadline_that_comes_with_the_last_epoch_leaves_the_task_whole() -> None:
    # given: one epoch of one step, so that the first report is the last
    plan = plan_of({"cnn": {**CNN, "epochs": 1, "batch_size": 1000}}, validation={"scheme": "holdout", "fraction": 0.3})
    (task,) = plan.tasks

    events = list(stream([Assignment(task, 1, 1000.0, seconds_left=-60.0)], plan.context, Control()))

    assert [event.complete for event in fitted(events).values()] == [True]
    assert hashes(events) == hashes(run(LocalExecutor(), plan))


def test_a_task_that_cannot_stop_is_abandoned_at_the_end_of_the_training_time(executor: Executor) -> None:
    plan = plan_of({"slow": {"kind": "odd", "seconds": 8, "price": 0.1}, "quick": {"kind": "odd", "price": 0.01}})
    clock, before = FromFirstStart(2.0), at_work()

    events = run(executor, plan, on=clock.on, agenda=clock.agenda, policy=Policy(workers=1))

    assert 1.9 < clock.budget.used() < 6, "it did not wait for the eight seconds"
    given_up, *waited = late(events)
    assert (given_up.task.member, given_up.begun) == ("slow", True)
    assert [event.begun for event in waited] == [False] * len(waited)
    done = {(event.task.member, event.task.fold) for event in fitted(events).values()}
    assert done | {(event.task.member, event.task.fold) for event in late(events)} == {
        (member, fold) for member in ("slow", "quick") for fold in (0, 1)
    }
    assert len(at_work() - before) == (executor.name == "local"), "on Ray its worker was killed"


def test_tasks_that_would_not_end_in_time_are_not_started_and_the_others_are(executor: Executor) -> None:
    plan = plan_of({"huge": {"kind": "odd", "price": 5000}, "quick": {"kind": "odd", "price": 0.01}})
    agenda = Agenda(Budget(60, time.monotonic()), Estimates(), lambda task: 1.0)

    events = run(executor, plan, agenda=agenda)

    assert {(event.task.member, event.task.fold) for event in fitted(events).values()} == {("quick", 0), ("quick", 1)}
    assert {(event.task.member, event.begun) for event in late(events)} == {("huge", False)}
    assert "s were left for training" in late(events)[0].message
    assert agenda.budget.used() < 40, "it does not wait for the deadline with nothing to do"


def test_folds_are_trained_round_by_round_whatever_the_costs(executor: Executor) -> None:
    plan = plan_of({name: {"kind": "odd", "price": price} for name, price in (("c", 1), ("a", 9), ("b", 3))})
    agenda = Agenda(Budget(1000, time.monotonic()), Estimates(), lambda task: 1.0)

    events = run(executor, plan, policy=Policy(workers=1), agenda=agenda)

    begun = [(event.task.member, event.task.fold) for event in events if isinstance(event, Started)]
    assert begun[0] == ("a", 0)
    assert [fold for _, fold in begun] == [0, 0, 0, 1, 1, 1]
