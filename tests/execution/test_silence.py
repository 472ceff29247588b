"""Silent tasks and frozen workers: when they are ended, and what happens to their tasks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.execution.jobs import CNN, failures, fitted, plan_of, run, task_of

from quorate.execution.base import Policy
from quorate.execution.events import Fitted, Reported, Silent, Started
from quorate.execution.local import LocalExecutor
from quorate.execution.silence import Patience, SilenceWatch
from quorate.plan.tasks import FitTask, Plan


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def plan() -> Plan:
    """150 training rows and 600 predicted rows, 4 times as many, per fold."""
    return plan_of({"cnn": {**CNN, "epochs": 10}, "forest": {"kind": "random_forest"}})


def silent_after(watch: SilenceWatch, clock: Clock, tasks: list[FitTask], most: float) -> float | None:
    """The seconds after which the tasks are overdue, looked at every second; None if they are not within `most`."""
    begun = clock.now
    while clock.now - begun < most:
        clock.now += 1.0
        if watch.time.is_time() and watch.overdue(tasks):
            return clock.now - begun
    return None


def test_a_task_that_is_not_measured_yet_may_be_silent_for_ten_minutes_however_short_its_estimate_is(
    plan: Plan,
) -> None:
    clock = Clock()
    watch, task = SilenceWatch(Patience(), plan.context, clock), task_of(plan, "cnn")
    watch.on(Started(task, 1, "here:1"))

    assert silent_after(watch, clock, [task], 2000) == pytest.approx(600, abs=2)


def test_a_network_may_be_silent_for_five_of_its_epochs_and_at_least_for_two_minutes(plan: Plan) -> None:
    for seconds, limit in ((1.0, 120.0), (100.0, 5 * 4 * 100.0)):  # it predicts 4 times the rows of an epoch
        clock = Clock()
        watch, task = SilenceWatch(Patience(), plan.context, clock), task_of(plan, "cnn")
        watch.on(Started(task, 1, "here:1"))
        for epoch in range(3):
            for _ in range(int(seconds)):
                clock.now += 1.0
                watch.time.is_time()
            watch.on(Reported(task, epoch + 1, {"train_loss": 1.0}))

        assert silent_after(watch, clock, [task], 4000) == pytest.approx(limit, abs=2)


def test_the_limit_doubles_each_time_that_a_task_was_ended(plan: Plan) -> None:
    clock = Clock()
    watch, task = SilenceWatch(Patience(unmeasured=10), plan.context, clock), task_of(plan, "cnn")
    found = []
    for attempt in range(3):
        watch.on(Started(task, attempt + 1, "here:1"))
        found.append(silent_after(watch, clock, [task], 100))
        watch.forget([task])

    assert found == [pytest.approx(10, abs=2), pytest.approx(20, abs=2), pytest.approx(40, abs=2)]


def test_a_task_without_epochs_is_only_reported_before_a_similar_one_has_been_measured(plan: Plan) -> None:
    # given: two folds of a forest, which give no event until their ends
    clock = Clock()
    watch = SilenceWatch(Patience(), plan.context, clock)
    first, second = (task for task in plan.tasks if task.member == "forest")
    watch.on(Started(first, 1, "here:1"))
    watch.on(Started(second, 1, "here:2"))
    found: list[Silent] = []
    while clock.now < 1000 + 3600:
        clock.now += 1.0
        if watch.time.is_time():
            found += watch.overdue([first])

    # then: it is reported after 10, 20 and 40 min, and would be after 80
    assert [one.seconds for one in found] == [pytest.approx(600 * 2**n, abs=3) for n in range(3)]
    assert {one.spared for one in found} == {"no similar task has been measured yet"}

    # when: the second fold has taken an hour; then: the first may take five times as long
    proba = np.full((len(plan.context.folds[second.fold].valid), 10), 0.1, np.float32)
    watch.on(Fitted(second, proba, [], {}, 3600.0, True))
    while not (late := watch.time.is_time() and watch.overdue([first])):
        clock.now += 1.0
    assert clock.now - 1000 == pytest.approx(5 * 4 * 3600, rel=0.01), "it predicts 4 times the rows that it fits"
    assert not late[0].spared


def test_time_in_which_the_driver_read_no_events_does_not_count(plan: Plan) -> None:
    clock = Clock()
    watch, task = SilenceWatch(Patience(unmeasured=10), plan.context, clock), task_of(plan, "cnn")
    watch.on(Started(task, 1, "here:1"))
    clock.now += 3600.0  # such as an outage of the store

    assert silent_after(watch, clock, [task], 100) == pytest.approx(10 - 2, abs=2)


def test_a_worker_that_has_not_started_its_task_is_not_silent(plan: Plan) -> None:
    clock = Clock()
    watch, task = SilenceWatch(Patience(unmeasured=10), plan.context, clock), task_of(plan, "cnn")
    watch.time.is_time()

    assert silent_after(watch, clock, [task], 100) is None


@pytest.mark.chaos
def test_in_this_process_a_silent_task_is_reported_and_goes_on() -> None:
    plan = plan_of({"slow": {"kind": "odd", "seconds": 2.2, "price": 0.1}})
    task = task_of(plan, "slow")

    events = run(LocalExecutor(), plan, policy=Policy(patience=Patience(factor=1, unmeasured=0.5)))

    own = [type(event) for event in events if event.task.key == task.key]
    assert own[0] is Started and Silent in own and own[-1] is Fitted
    assert not failures(events)


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.system
def test_a_frozen_worker_is_ended_and_its_task_is_tried_again(ray_session: None, tmp_path: Path) -> None:
    from quorate.execution.ray.executor import RayExecutor

    plan = plan_of({"frozen": {"kind": "odd", "what": "stop_once", "mark": str(tmp_path / "mark")}})
    begun = time.monotonic()

    events = run(RayExecutor(own=False), plan, policy=Policy(patience=Patience(factor=None, frozen=2.0)))

    (lost,) = failures(events)
    assert (lost.status, lost.attempt, lost.final) == ("lost", 1, False)
    assert lost.message == "the worker was frozen: its process is stopped"
    assert len(fitted(events)) == 2
    print(f"ended after {time.monotonic() - begun:.1f} s")


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.system
def test_a_silent_task_is_ended_and_tried_again(ray_session: None, tmp_path: Path) -> None:
    from quorate.execution.ray.executor import RayExecutor

    plan = plan_of({"silent": {"kind": "odd", "what": "hang_once", "mark": str(tmp_path / "mark")}})

    events = run(RayExecutor(own=False), plan, policy=Policy(patience=Patience(unmeasured=3.0, measured=3.0)))

    (lost,) = failures(events)
    assert (lost.status, lost.attempt, lost.final) == ("lost", 1, False)
    assert lost.message.startswith("the worker was ended: no event for ")
    assert len(fitted(events)) == 2
