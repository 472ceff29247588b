"""One suite for the sessions of every executor: work that is submitted, finished and cancelled while events arrive."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss
from tests.execution.jobs import CNN, failures, fitted, hashes, plan_of, run, task_of

from quorate.data.folds import Folds
from quorate.execution import interrupt
from quorate.execution.base import Executor, Policy, Session
from quorate.execution.events import Cancelled, Event, Fitted, Reported, Started, Stopped
from quorate.execution.interrupt import StopRequest
from quorate.execution.local import LocalExecutor
from quorate.plan.tasks import DataAddition, Plan, Task, Unit

LONG = {**CNN, "epochs": 60}


def each(tasks: Iterable[Task]) -> list[Unit]:
    return [Unit((task,)) for task in tasks]


def cancelled(events: list[Event]) -> list[Task]:
    return [event.task for event in events if isinstance(event, Cancelled)]


def worker(event: Event) -> str:
    assert isinstance(event, Started)
    return event.worker


def test_work_submitted_while_events_are_read_is_done_in_the_same_session(executor: Executor) -> None:
    plan = plan_of({"first": {"kind": "odd"}, "later": {"kind": "odd"}})
    first, *later = plan.tasks
    events = []

    with executor.open(plan.context, Policy()) as session:
        session.submit(each([first]))
        for event in session.events():
            events.append(event)
            if isinstance(event, Fitted) and later:
                session.submit(each([later.pop()]))

    assert fitted(events).keys() == {task.key for task in plan.tasks}


def test_a_session_whose_events_have_ended_takes_more_work_and_keeps_its_worker(executor: Executor) -> None:
    plan = plan_of({"odd": {"kind": "odd"}})

    with executor.open(plan.context, Policy()) as session:
        assert list(session.events()) == []
        session.submit(each(plan.tasks[:1]))
        first = list(session.events())
        session.submit(each(plan.tasks[1:]))
        second = list(session.events())

    assert [len(fitted(events)) for events in (first, second)] == [1, 1]
    assert worker(first[0]) == worker(second[0])


def test_events_that_were_left_early_go_on_where_they_were(executor: Executor) -> None:
    plan = plan_of({"cnn": CNN})

    with executor.open(plan.context, Policy()) as session:
        session.submit(each(plan.tasks))
        before = []
        for event in session.events():
            before.append(event)
            if isinstance(event, Reported) and event.epoch == 2:
                break
        after = list(session.events())

    epochs = [(e.task.fold, e.epoch) for e in before + after if isinstance(e, Reported)]
    assert sorted(epochs) == [(fold, epoch) for fold in (0, 1) for epoch in (1, 2, 3, 4)]
    assert hashes(before + after) == hashes(run(LocalExecutor(), plan))


def test_a_network_that_is_asked_to_finish_gives_its_best_epoch_and_goes_on_to_the_same_bits(
    executor: Executor,
) -> None:
    plan = plan_of({"cnn": LONG}, validation={"scheme": "holdout", "fraction": 0.3})
    undisturbed = hashes(run(LocalExecutor(), plan))
    checkpoints: dict[str, bytes] = {}

    def finish(event: Event, session: Session) -> None:
        if isinstance(event, Reported) and event.epoch == 3:
            session.finish(event.task)

    events = run(executor, plan, on=finish, checkpoints=checkpoints)

    (result,) = fitted(events).values()
    assert not result.complete and result.test is None and 3 <= len(result.history) < 60
    y = plan.context.train.y[plan.context.folds[0].valid]
    proba = result.valid / result.valid.sum(axis=1, keepdims=True, dtype=np.float64)
    best = min(epoch["valid_loss"] for epoch in result.history)
    assert log_loss(y, proba, labels=range(10)) == pytest.approx(best, abs=0.02)
    again = run(LocalExecutor(), plan, checkpoints=checkpoints)
    assert any(event.restored for event in again if isinstance(event, Started))
    assert hashes(again) == undisturbed


def test_a_network_that_is_asked_to_finish_at_its_start_trains_an_epoch(executor: Executor) -> None:
    plan = plan_of({"cnn": LONG}, validation={"scheme": "holdout", "fraction": 0.3})

    def finish(event: Event, session: Session) -> None:
        if isinstance(event, Started):
            session.finish(event.task)

    (result,) = fitted(run(executor, plan, on=finish)).values()

    assert not result.complete and 1 <= len(result.history) < 60


def test_a_fit_that_cannot_end_early_gives_its_whole_result_when_it_is_asked_to_finish(executor: Executor) -> None:
    plan = plan_of({"odd": {"kind": "odd", "seconds": 1}}, validation={"scheme": "holdout", "fraction": 0.3})

    def finish(event: Event, session: Session) -> None:
        if isinstance(event, Started):
            session.finish(event.task)

    (result,) = fitted(run(executor, plan, on=finish)).values()

    assert result.complete and result.test is not None


def test_a_waiting_task_that_is_asked_to_finish_is_cancelled(executor: Executor) -> None:
    plan = plan_of({"odd": {"kind": "odd"}})
    first, second = plan.tasks

    def finish(event: Event, session: Session) -> None:
        if isinstance(event, Started):
            session.finish(second)

    events = run(executor, plan, on=finish, policy=Policy(workers=1))

    assert cancelled(events) == [second] and list(fitted(events)) == [first.key]


def test_a_cancelled_task_ends_without_a_result_and_the_others_go_on(executor: Executor) -> None:
    plan = plan_of({"waiting": {"kind": "odd", "what": "wait", "price": 9}, "good": {"kind": "odd"}})
    checkpoints: dict[str, bytes] = {}

    def cancel(event: Event, session: Session) -> None:
        if isinstance(event, Started) and event.task.member == "waiting":
            session.cancel(event.task)

    begun = time.monotonic()
    events = run(executor, plan, on=cancel, checkpoints=checkpoints)

    assert time.monotonic() - begun < 60, "it does not wait for the minute that the task would take"
    assert {(task.member, task.fold) for task in cancelled(events)} == {("waiting", 0), ("waiting", 1)}
    assert {event.task.member for event in fitted(events).values()} == {"good"}
    assert not failures(events) and not checkpoints


def test_waiting_tasks_are_cancelled_at_once(executor: Executor) -> None:
    plan = plan_of({"odd": {"kind": "odd", "copies": 3}})

    with executor.open(plan.context, Policy(workers=1)) as session:
        session.submit(each(plan.tasks))
        for task in plan.tasks[1:]:
            session.cancel(task)
        events = list(session.events())

    assert cancelled(events) == list(plan.tasks[1:])
    assert list(fitted(events)) == [plan.tasks[0].key]


def test_a_cancelled_task_can_be_submitted_again(executor: Executor) -> None:
    plan = plan_of({"cnn": LONG}, validation={"scheme": "holdout", "fraction": 0.3})
    (task,) = plan.tasks
    with executor.open(plan.context, Policy()) as session:
        session.submit(each([task]))
        for event in session.events():
            if isinstance(event, Reported) and event.epoch == 1:
                session.cancel(task)

        session.submit(each([task]))
        events = list(session.events())

    assert hashes(events) == hashes(run(LocalExecutor(), plan))


def test_what_has_ended_is_neither_finished_nor_cancelled(executor: Executor) -> None:
    plan = plan_of({"odd": {"kind": "odd"}})

    def ask(event: Event, session: Session) -> None:
        if isinstance(event, Fitted):
            session.cancel(event.task)
            session.finish(event.task)

    events = run(executor, plan, on=ask)

    assert len(fitted(events)) == 2 and not cancelled(events)


def test_the_tasks_of_a_unit_run_one_after_another_on_the_same_worker(executor: Executor) -> None:
    plan = plan_of({"odd": {"kind": "odd", "copies": 2}, "other": {"kind": "odd", "price": 0.1}})
    unit = Unit(plan.tasks[:4])

    with executor.open(plan.context, Policy()) as session:
        session.submit([unit, *each(plan.tasks[4:])])
        events = list(session.events())

    own = [event for event in events if event.task in unit.tasks and isinstance(event, Started | Fitted)]
    assert [event.task for event in own] == [task for task in unit.tasks for _ in range(2)]
    assert len({worker(event) for event in own if isinstance(event, Started)}) == 1
    assert len(fitted(events)) == 6


def test_a_task_of_a_unit_that_fails_is_tried_again_and_the_others_go_on(executor: Executor, tmp_path: Path) -> None:
    once = {"kind": "odd", "what": "raise_once", "mark": str(tmp_path / "mark")}
    plan = plan_of({"good": {"kind": "odd"}, "once": once}, validation={"scheme": "holdout", "fraction": 0.3})

    with executor.open(plan.context, Policy()) as session:
        session.submit([Unit((plan.tasks[1], plan.tasks[0]))])
        events = list(session.events())

    assert [(event.task.member, event.final) for event in failures(events)] == [("once", False)]
    assert {event.task.member for event in fitted(events).values()} == {"good", "once"}


def test_a_task_of_a_unit_is_cancelled_before_its_turn(executor: Executor) -> None:
    plan = plan_of({"odd": {"kind": "odd", "copies": 2}})

    with executor.open(plan.context, Policy()) as session:
        session.submit([Unit(plan.tasks)])
        events = []
        for event in session.events():
            events.append(event)
            if isinstance(event, Started) and event.task == plan.tasks[0]:
                session.cancel(plan.tasks[2])

    assert cancelled(events) == [plan.tasks[2]]
    assert fitted(events).keys() == {plan.tasks[i].key for i in (0, 1, 3)}


def test_stopping_ends_the_tasks_of_a_unit_that_have_not_begun(executor: Executor) -> None:
    plan = plan_of({"waiting": {"kind": "odd", "what": "wait", "copies": 2}})

    with executor.open(plan.context, Policy()) as session:
        session.submit([Unit(plan.tasks)])
        events = []
        for event in session.events():
            events.append(event)
            if isinstance(event, Started):
                session.stop()

    stopped = [event.task for event in events if isinstance(event, Stopped)]
    assert {task.key for task in stopped} == {task.key for task in plan.tasks} and len(stopped) == 4


def test_units_with_different_resources_start_with_the_longest(executor: Executor) -> None:
    members = {
        "wide": {"kind": "odd", "price": 5, "cpus": 2},
        "long": {"kind": "odd", "price": 9},
        "short": {"kind": "odd", "price": 1},
    }
    plan = plan_of(members, validation={"scheme": "holdout", "fraction": 0.3})

    events = run(executor, plan, policy=Policy(workers=1))

    assert [event.task.member for event in events if isinstance(event, Started)] == ["long", "wide", "short"]


def swapped(plan: Plan) -> Folds:
    first, second = plan.context.folds.folds
    return replace(plan.context.folds, folds=(second, first))


def test_tasks_that_start_after_data_were_added_read_them(executor: Executor) -> None:
    plan = plan_of({"svm": {"kind": "svm"}})
    changed = replace(plan, context=replace(plan.context, folds=swapped(plan)))

    with executor.open(plan.context, Policy()) as session:
        session.submit(each(plan.tasks))
        before = list(session.events())
        session.place(DataAddition(folds=swapped(plan)))
        session.submit(each(plan.tasks))
        after = list(session.events())

    assert hashes(before) == hashes(run(LocalExecutor(), plan))
    assert hashes(after) == hashes(run(LocalExecutor(), changed)) != hashes(before)


def process(event: Event) -> int:
    return int(worker(event).rpartition(":")[2])


@pytest.mark.chaos
def test_the_tasks_of_a_unit_whose_worker_dies_wait_again_except_those_that_have_ended(ray_session: None) -> None:
    from quorate.execution.ray.executor import RayExecutor

    members = {"first": {"kind": "odd"}, "killed": {"kind": "odd", "seconds": 5}, "last": {"kind": "odd"}}
    plan = plan_of(members, validation={"scheme": "holdout", "fraction": 0.3})
    events: list[Event] = []

    with RayExecutor(own=False).open(plan.context, Policy()) as session:
        session.submit([Unit(plan.tasks)])
        for event in session.events():
            events.append(event)
            if isinstance(event, Started) and event.task.member == "killed" and not failures(events):
                os.kill(process(event), signal.SIGKILL)

    assert [(event.task.member, event.status, event.final) for event in failures(events)] == [("killed", "lost", False)]
    starts = [event.task.member for event in events if isinstance(event, Started)]
    assert starts[:2] == ["first", "killed"] and sorted(starts[2:]) == ["killed", "last"]
    assert {event.task.member for event in fitted(events).values()} == {"first", "killed", "last"}


@pytest.mark.chaos
def test_a_worker_that_died_while_it_was_idle_costs_no_attempt(ray_session: None) -> None:
    from quorate.execution.ray.executor import RayExecutor

    plan = plan_of({"odd": {"kind": "odd"}})

    with RayExecutor(own=False).open(plan.context, Policy(lost_workers=0)) as session:
        session.submit(each(plan.tasks[:1]))
        started, *_ = session.events()
        os.kill(process(started), signal.SIGKILL)
        session.submit(each(plan.tasks[1:]))
        events = list(session.events())

    assert not failures(events) and len(fitted(events)) == 1


@pytest.mark.chaos
def test_a_task_that_was_asked_to_finish_is_not_tried_again_when_its_worker_dies(ray_session: None) -> None:
    from quorate.execution.ray.executor import RayExecutor

    plan = plan_of({"slow": {"kind": "odd", "seconds": 30}}, validation={"scheme": "holdout", "fraction": 0.3})

    def finish(event: Event, session: Session) -> None:
        if isinstance(event, Started):
            session.finish(event.task)
            os.kill(process(event), signal.SIGKILL)

    events = run(RayExecutor(own=False), plan, on=finish)

    assert [event.status for event in failures(events)] == ["lost"]
    assert cancelled(events) == list(plan.tasks)


@pytest.mark.system
def test_idle_workers_make_room_for_a_unit_that_needs_what_they_hold(ray_session: None) -> None:
    from quorate.execution.ray.executor import RayExecutor

    plan = plan_of({"slim": {"kind": "odd"}, "wide": {"kind": "odd", "cpus": 2}})
    slim = [task for task in plan.tasks if task.member == "slim"]

    with RayExecutor(own=False).open(plan.context, Policy()) as session:
        session.submit(each(slim))
        assert len(fitted(list(session.events()))) == 2
        session.submit(each([task_of(plan, "wide")]))
        begun = time.monotonic()
        events = list(session.events())

    assert len(fitted(events)) == 1
    assert time.monotonic() - begun < 60


def test_a_halted_session_gives_up_a_task_that_does_not_report(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: one task that hangs for minutes, and others that wait; the lease of the job is lost meanwhile
    monkeypatch.setattr(interrupt, "_GRACE_SECONDS", 0.5)
    plan = plan_of({"odd": {"kind": "odd", "what": "hang_once", "mark": str(tmp_path / "mark")}})
    request, events, halted = StopRequest(), list[Event](), 0.0

    with executor.open(plan.context, Policy(workers=1)) as session:
        session.submit(each(plan.tasks))
        request.attach(session)
        for event in session.events():
            events.append(event)
            if isinstance(event, Started):
                request.halt()
                halted = time.monotonic()

        assert time.monotonic() - halted < 5
    assert sum(isinstance(event, Started) for event in events) == 1
    assert {event.task.key for event in events if isinstance(event, Stopped)} == {task.key for task in plan.tasks}
