"""Interim results of a network with a deadline: how often they are stored, their cost, and their content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.execution.jobs import CNN, fitted, hashes, plan_of

from quorate.execution import attempt
from quorate.execution import interim as interim_module
from quorate.execution.assignment import Assignment, Control
from quorate.execution.events import Event, Fitted, OutOfTime, Predicted, Reported, SoFar
from quorate.execution.interim import SHARE, Interim
from quorate.execution.stream import stream
from quorate.members.base import member_of
from quorate.plan.tasks import Plan

ONE_FOLD = {"scheme": "holdout", "fraction": 0.3}
TTA = {"augment": {"mirror": True}, "passes": 3}


def events_of(plan: Plan, *, seconds_left: float | None, on: Callable[[Event, Control], None] | None = None) -> Any:
    """All events of the first task if its result is due after that number of seconds."""
    (task, *_), control = plan.runs, Control()
    found = []
    for event in stream([Assignment(task, 1, 1000.0, seconds_left=seconds_left)], plan.context, control):
        found.append(event)
        if on is not None:
            on(event, control)
    return found


@pytest.fixture
def at_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every epoch look like the last one before the deadline."""
    monkeypatch.setattr(interim_module, "SLOWER", 1e9)


@pytest.mark.usefixtures("at_every_epoch")
def test_interim_results_equal_the_predictions_of_the_saved_networks() -> None:
    plan = plan_of({"cnn": {**CNN, "epochs": 5, "ema": 0.9, "tta": TTA}}, validation=ONE_FOLD)
    valid = plan.context.train.take(plan.context.folds[0].valid).x

    events = events_of(plan, seconds_left=600.0)

    kept = [event.result for event in events if isinstance(event, SoFar)]
    assert len(kept) == 4, "the last epoch gives the whole"
    for result in kept:
        assert not result.complete and result.test is None
        assert [part.task.view for part in result.all] == ["", "ema"]
        for part in result.all:
            np.testing.assert_array_equal(member_of(part.files).predict_proba(valid), part.valid)
    losses = [report.metrics["valid_loss"] for report in events if isinstance(report, Reported)]
    assert len(kept[-1].history) == 4 and len(losses) == 5


@pytest.mark.usefixtures("at_every_epoch")
def test_interim_results_do_not_change_the_training() -> None:
    members = {"cnn": {**CNN, "epochs": 4, "ema": 0.9, "dropout": 0.4, "tta": TTA}}
    plan = plan_of(members, validation=ONE_FOLD)

    watched = events_of(plan, seconds_left=600.0)

    assert sum(isinstance(event, SoFar) for event in watched) == 3
    assert hashes(watched) == hashes(events_of(plan, seconds_left=None))


@pytest.mark.usefixtures("at_every_epoch")
def test_a_deadline_costs_no_further_pass() -> None:
    plan = plan_of({"cnn": {**CNN, "epochs": 500}}, validation=ONE_FOLD)

    def due_in_the_next_epoch(event: Event, control: Control) -> None:
        if isinstance(event, SoFar):
            control.end_in(0.0)

    events = events_of(plan, seconds_left=600.0, on=due_in_the_next_epoch)

    (done,) = fitted(events).values()
    newest = [event.result for event in events if isinstance(event, SoFar)][-1]
    assert not done.complete
    assert done.valid is newest.valid and done.files is newest.files


def test_there_is_no_interim_result_before_the_first_epoch() -> None:
    plan = plan_of({"cnn": {**CNN, "epochs": 5, "batch_size": 8}}, validation=ONE_FOLD)

    *_, last = events_of(plan, seconds_left=0.0)

    assert isinstance(last, OutOfTime) and last.begun
    assert "before its first epoch had ended" in last.message


def test_test_rows_are_predicted_after_the_result_if_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of({"cnn": {**CNN, "epochs": 2, "ema": 0.9}}, validation=ONE_FOLD)
    (plain,) = fitted(events_of(plan, seconds_left=None)).values()

    in_time = events_of(plan, seconds_left=600.0)
    monkeypatch.setattr(attempt, "_SAFETY", 1e9)
    late = events_of(plan, seconds_left=600.0)

    (done,) = fitted(in_time).values()
    predicted = {event.task.fit.key: event.proba for event in in_time if isinstance(event, Predicted)}
    assert done.complete and done.test is None
    assert {part.task.key for part in plain.all} == set(predicted)
    for part in plain.all:
        np.testing.assert_array_equal(predicted[part.task.key], part.test)
    assert not [event for event in late if isinstance(event, Predicted)]
    assert [type(event) for event in late][-1] is Fitted


class Rows(list[int]):
    """Rows without content."""

    def subset(self, chosen: Any) -> Rows:
        return Rows(chosen.tolist())


@dataclass
class Simulated:
    """A training whose epochs and predictions take as long as a test says, on a clock of its own."""

    epoch: Callable[[int], float]
    row: float
    rows: int = 1000
    now: float = 100.0

    def run(self, *, due: float, epochs: int = 10_000) -> Interim:
        """Train until the next epoch would end after the deadline."""
        begun, number = self.now, 0
        rows: Any = Rows(range(self.rows))
        kept = Interim(lambda member: self._predict(), rows, clock=lambda: self.now)
        kept.begin()
        while self.now + self.epoch(number) < begun + due and number < epochs:
            self.now, number = self.now + self.epoch(number), number + 1
            kept.after_epoch(lambda: self, due=begun + due, epochs_left=epochs - number)
        self.epochs = number
        return kept

    def predict_proba(self, rows: Any) -> None:
        self.now += self.row * len(rows)

    def _predict(self) -> Any:
        self.now += self.row * self.rows
        return Fitted(None, None, [], {}, 0.0, False, predict_ms=1e3 * self.row)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0.2, 1.0, 9.0])
@pytest.mark.parametrize("row", [1e-5, 1e-3, 5e-3])
def test_keeping_results_takes_a_small_part_of_the_time(seconds: float, row: float) -> None:
    training = Simulated(lambda number: seconds, row)

    kept = training.run(due=600.0)

    cost = row * training.rows
    in_the_end = 2 * (seconds + cost) / seconds + 1  # epochs of which each may be the last
    assert kept.newest is not None
    assert kept.spent <= SHARE * 600 + 0.1 * 600 * (cost > SHARE * 600) + cost * in_the_end + 2 * cost


@pytest.mark.parametrize("row", [1e-5, 1e-3, 2e-2])
@pytest.mark.parametrize("slower", [1.0, 1.9])
def test_there_is_a_result_before_the_deadline_even_if_the_last_epochs_are_slower(row: float, slower: float) -> None:
    training = Simulated(lambda number: 10.0 if number < 12 else slower * 10.0, row)

    kept = training.run(due=200.0)

    assert kept.newest is not None
    assert training.now <= 300.0, "made in time"


def test_a_fit_that_ends_long_before_the_deadline_stores_no_interim_result() -> None:
    kept = Simulated(lambda number: 1.0, 1e-4).run(due=3600.0, epochs=20)

    assert kept.newest is None and kept.spent == 0
