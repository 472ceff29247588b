"""Seconds of tasks, corrected by what was seen, and the time until all have ended."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from tests.tiny import plan_of

from quorate.execution.estimates import Estimates, epochs_of, makespan
from quorate.execution.events import Failed, Fitted, OutOfTime, Predicted, Reported, Started
from quorate.plan.tasks import FitTask, Plan, PredictTask

NET = "{kind: net, arch: mlp, epochs: 10}"


def task(plan: Plan, label: str, fold: int = 0, *, cost: float = 10.0) -> FitTask:
    return replace(plan.of(label)[fold], cost=cost)


def fitted(of: FitTask, seconds: float, *, epochs: int = 1, complete: bool = True, ending: float = 0.0) -> Fitted:
    history = [{"valid_loss": 1.0}] * epochs
    return Fitted(of, np.ones((1, 3), np.float32), history, {}, seconds, complete, None, ending)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(f"{{a: svm, b: svm, forest: random_forest, net: {NET}}}")


def test_the_estimate_of_the_plan_is_used_before_any_measurement(plan):
    estimates = Estimates()

    assert not estimates.known
    assert estimates.seconds(task(plan, "a")) == 10.0


def test_estimates_use_tasks_of_the_member_first_then_of_its_kind_then_of_all_members(plan):
    # given: fold 1 of `a` took three times its estimate, the predictions counted in
    estimates = Estimates()

    estimates.on(fitted(task(plan, "a"), 29.0, ending=1.0), now=30.0)

    # then: from other members, two seconds are added to both sides
    assert estimates.known
    assert estimates.seconds(task(plan, "a", 1)) == pytest.approx(30.0)
    assert estimates.seconds(task(plan, "b", cost=20)) == pytest.approx(20 * 32 / 12)
    assert estimates.seconds(task(plan, "forest", cost=40)) == pytest.approx(40 * 32 / 12)
    estimates.on(fitted(task(plan, "forest", cost=40), 20.0), now=50.0)
    assert estimates.seconds(task(plan, "b", cost=20)) == pytest.approx(20 * 32 / 12), "its kind before all"
    assert estimates.seconds(task(plan, "net")) == pytest.approx(10 * (50 + 2) / (50 + 2)), "all together"


def test_very_short_tasks_have_little_influence_on_the_estimates_of_long_ones(plan):
    estimates = Estimates()

    estimates.on(fitted(task(plan, "a", cost=0.002), 0.2), now=1.0)

    assert estimates.seconds(task(plan, "net", cost=60)) < 70


def test_a_running_network_updates_its_estimate(plan):
    # given
    estimates, net = Estimates(), task(plan, "net", cost=1000)
    estimates.on(Started(net, 1, "here"), now=100.0)

    # when: two epochs of ten in six seconds
    estimates.on(Reported(net, 1, {}), now=103.5)
    estimates.on(Reported(net, 2, {}), now=106.0)

    # then
    assert estimates.seconds(net) == pytest.approx(30.0)
    assert estimates.seconds(task(plan, "net", 1, cost=1000)) == pytest.approx(30.0)
    assert estimates.seconds_left(net, now=107.0) == pytest.approx(8 * 3 - 1)


def test_a_resumed_network_is_timed_by_the_epochs_since_its_checkpoint(plan):
    estimates, net = Estimates(), task(plan, "net")
    estimates.on(Started(net, 1, "here", restored=True), now=0.0)

    estimates.on(Reported(net, 8, {}), now=4.0)

    assert estimates.seconds_left(net, now=4.0) == pytest.approx(2 * 4)
    assert estimates.seconds(net) == pytest.approx(40)


def test_a_stopped_network_is_extrapolated_to_all_its_epochs(plan):
    estimates = Estimates()

    estimates.on(fitted(task(plan, "net"), 12.0, epochs=4, complete=False), now=12.0)

    assert estimates.seconds(task(plan, "net", 1)) == pytest.approx(12 * 10 / 4)


def test_a_task_beyond_its_estimate_is_expected_to_take_a_quarter_longer(plan):
    estimates, svm = Estimates(), task(plan, "a")
    estimates.on(Started(svm, 1, "here"), now=0.0)

    assert estimates.seconds_left(svm, now=4.0) == pytest.approx(6.0)
    assert estimates.seconds_left(svm, now=40.0) == pytest.approx(10.0)


def test_earlier_jobs_count_until_this_one_has_seen_the_member_itself(plan):
    estimates = Estimates()

    estimates.reused(task(plan, "a"), 50.0)
    assert estimates.seconds(task(plan, "a", 1)) == pytest.approx(50.0)

    estimates.on(fitted(task(plan, "a", 1), 20.0), now=20.0)
    assert estimates.seconds(task(plan, "a", 1)) == pytest.approx(20.0)


def test_an_abandoned_task_is_estimated_to_take_longer_than_it_had(plan):
    estimates, svm = Estimates(), task(plan, "a")
    estimates.on(Started(svm, 1, "here"), now=0.0)

    estimates.on(OutOfTime(svm, True, ""), now=100.0)

    assert estimates.seconds(svm) == pytest.approx(125.0)
    assert estimates.running() == []


def test_a_failed_task_does_not_change_the_estimates(plan):
    estimates, svm = Estimates(), task(plan, "a")
    estimates.on(Started(svm, 1, "here"), now=0.0)
    assert estimates.running() == [svm]

    estimates.on(Failed(svm, 1, "failed", "it broke"), now=1.0)

    assert estimates.running() == [] and not estimates.known


def test_the_time_of_predictions_does_not_change_the_estimates_of_fits(plan):
    estimates, predicting = Estimates(), PredictTask("p", task(plan, "a"))
    estimates.on(Started(predicting, 1, "here"), now=0.0)

    estimates.on(Predicted(predicting, np.ones((1, 3), np.float32)), now=9.0)

    assert estimates.seconds(replace(predicting, key="other")) == pytest.approx(9.0)
    assert estimates.seconds(task(plan, "a")) == 10.0


def test_only_kinds_with_epochs_can_end_early(plan):
    assert [epochs_of(plan.of(label)[0]) for label in ("net", "a", "forest")] == [10, None, None]
    assert epochs_of(PredictTask("p", plan.of("net")[0])) is None


@pytest.mark.parametrize(
    ("running", "waiting", "expected"),
    [
        ([], [], 0),
        ([(5, 0.5)], [], 5),
        ([(5, 0.5), (3, 0.5)], [(4, 0.5)], 7),  # two workers: the third task follows the shorter one
        ([], [(4, 0.5)] * 5, 12),
        ([(10, 0.5)], [(1, 0.5), (1, 0.5)], 10),
        ([(2, 0.25)], [(3, 1.0), (1, 0.25)], 6),  # a task that needs all workers waits for the last one
    ],
)
def test_the_makespan_equals_a_schedule_drawn_by_hand(running, waiting, expected):
    assert makespan(running, waiting) == pytest.approx(expected)


def test_the_makespan_is_the_least_over_assignments_to_workers_in_the_given_order():
    # given: an independent simulation, second by second, with three workers
    for seconds in permutations((7, 1, 3, 2, 5)):
        workers = [0, 0, 0]
        for each in seconds:
            workers[workers.index(min(workers))] += each

        assert makespan([], [(each, 1 / 3) for each in seconds]) == pytest.approx(max(workers))
