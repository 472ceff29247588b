"""The order under a budget, what may begin, and when to end."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from tests.tiny import plan_of

from quorate.execution.budget import Agenda, Budget, QueuedUnit, in_rounds
from quorate.execution.estimates import Estimates
from quorate.plan.tasks import FitTask, PredictTask, Task


def agenda(*, left: float, share: float = 1.0) -> Agenda:
    """An agenda with `left` seconds for training, and 1 / `share` workers."""
    return Agenda(Budget(1000.0, time.monotonic() - 1000 + left), Estimates(), lambda task: share)


def tasks(members: str, **costs: float) -> list[FitTask]:
    return [replace(task, cost=costs[task.label]) for task in plan_of(members).tasks]


def order(of: Agenda, waiting: list[Task]) -> list[str]:
    return [
        f"{t.label}{t.fold + 1}" if isinstance(t, FitTask) else "predict" for (t,) in of.order((t,) for t in waiting)
    ]


def test_a_round_that_fits_starts_with_its_longest_unit_and_otherwise_with_its_cheapest():
    waits = [QueuedUnit(number, seconds, 0.5) for number in (0, 1) for seconds in (3, 9, 6)]

    assert in_rounds(waits, room=100) == [1, 2, 0, 4, 5, 3]
    assert in_rounds(waits, room=10) == [1, 2, 0, 3, 5, 4], "9 of 10 seconds are taken by the first round"
    assert in_rounds(waits, room=8) == [0, 2, 1, 3, 5, 4]


def test_units_with_equal_costs_keep_their_order():
    assert in_rounds([QueuedUnit(0, 1.0, 1.0)] * 4, room=9) == [0, 1, 2, 3]


def test_every_member_has_its_first_fold_before_any_has_its_second():
    waiting = tasks("{a: svm, b: random_forest, c: logistic}", a=1, b=50, c=9)

    assert order(agenda(left=500), list(reversed(waiting))) == ["b1", "c1", "a1", "b2", "c2", "a2"]
    assert order(agenda(left=30), list(reversed(waiting))) == ["a1", "c1", "b1", "a2", "c2", "b2"]


def test_more_workers_fit_more_into_the_same_time():
    waiting = tasks("{a: svm, b: random_forest}", a=40, b=50)

    assert order(agenda(left=60, share=1.0), waiting) == ["a1", "b1", "a2", "b2"]
    assert order(agenda(left=60, share=0.25), waiting) == ["b1", "a1", "b2", "a2"]


def test_predictions_of_finished_fits_come_first():
    a, *rest = tasks("{a: svm, b: random_forest}", a=40, b=50)

    assert order(agenda(left=60), [*rest, PredictTask("p", a)])[0] == "predict"


def test_a_unit_starts_only_if_it_or_one_epoch_of_a_network_would_finish_in_time():
    svm, _, net, _ = tasks("{a: svm, n: {kind: net, arch: mlp, epochs: 10}}", a=20, n=200)
    queue = agenda(left=22)

    assert queue.may_start(svm) and queue.may_start(net)
    assert not agenda(left=18).may_start(svm)
    assert agenda(left=18).may_start(net), "nothing was seen of it yet, so that its estimate may be too long"
    assert not agenda(left=5).may_start(net)
    assert queue.seconds_left() == pytest.approx(21, abs=0.5), "a second for its result to arrive"
    assert "it takes about 20.0 s, and 18.0 s were left" in agenda(left=18.01).why_not(svm)
    assert "an epoch of it takes about 20.0 s" in queue.why_not(net)


def test_training_stops_when_only_the_reserved_time_is_left():
    budget = Budget(60.0, time.monotonic() - 40, reserve=15.0)

    assert budget.left() == pytest.approx(20, abs=0.5)
    assert budget.training_left() == pytest.approx(5, abs=0.5)
    queue = Agenda(budget, Estimates(), lambda task: 1.0)
    assert not queue.over()
    budget.reserve = 21.0
    assert queue.over()


def test_test_predictions_get_little_time_while_training_tasks_are_waiting():
    waiting = [(task,) for task in tasks("{a: svm, b: random_forest}", a=40, b=50)]

    assert agenda(left=200).for_tests(waiting) == 1.0
    assert agenda(left=100).for_tests(waiting) == 0.05
    assert agenda(left=100, share=0.5).for_tests(waiting) == 1.0
