"""Fits that are trained together in one model: each has its own events, checkpoint, end and result."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
from tests.execution.jobs import failures, fitted, hashes, plan_of, run
from tests.execution.packed_members import Stack

from quorate.execution.base import Executor, Policy, Session, Sources
from quorate.execution.events import Cancelled, Checkpointed, Event, Fitted, Reported, Started, Stopped
from quorate.execution.local import LocalExecutor
from quorate.plan.tasks import Plan, Unit


def packed(plan: Plan) -> list[Unit]:
    """One pack for each fold."""
    folds = sorted({task.fold for task in plan.tasks})
    return [Unit(tuple(task for task in plan.tasks if task.fold == fold), "together") for fold in folds]


def run_packed(
    executor: Executor,
    plan: Plan,
    *,
    policy: Policy | None = None,
    on=lambda event, session: None,
    kept: dict[str, bytes] | None = None,
) -> list[Event]:
    checkpoints, events = kept if kept is not None else {}, []
    plain = policy or Policy(checkpoint_seconds=10.0)
    given = replace(plain, sources=Sources(lambda task: checkpoints.get(task.key)))
    with executor.open(plan.context, given) as session:
        session.submit(packed(plan))
        for event in session.events():
            if isinstance(event, Checkpointed):
                checkpoints[event.task.key] = event.content
            on(event, session)
            events.append(event)
    return events


def copies(number: int = 3, **params: object) -> Plan:
    return plan_of({"stack": {"kind": "stack", "copies": number, **params}})


def test_the_tasks_of_a_pack_are_one_model_and_give_the_bits_that_they_give_alone(executor: Executor) -> None:
    plan = copies()
    Stack.sizes.clear()

    events = run_packed(executor, plan)

    assert executor.name == "ray" or Stack.sizes == [3, 3]
    assert hashes(events) == hashes(run(LocalExecutor(), plan))
    for task in plan.tasks:
        own = [event for event in events if event.task.key == task.key]
        assert isinstance(own[0], Started) and isinstance(own[-1], Fitted)
        assert [event.epoch for event in own if isinstance(event, Reported)] == [1, 2, 3, 4, 5]
        assert own[-1].complete and own[-1].test is not None


def test_a_task_of_a_pack_that_is_asked_to_finish_gives_its_result_before_the_others(executor: Executor) -> None:
    plan = plan_of({"stack": {"kind": "stack", "copies": 2, "epochs": 3000}}, validation={"scheme": "holdout"})
    first, second = plan.tasks

    def finish(event: Event, session: Session) -> None:
        if isinstance(event, Reported) and event.task.key == first.key and event.epoch == 3:
            session.finish(first)

    events = run_packed(executor, plan, on=finish)

    results = [event for event in events if isinstance(event, Fitted)]
    assert [event.task.key for event in results] == [first.key, second.key]
    assert not results[0].complete and 3 <= len(results[0].history) < 3000
    assert results[1].complete and hashes(events)[second.key] == hashes(run(LocalExecutor(), plan))[second.key]


def test_a_task_of_a_pack_is_cancelled_and_the_others_go_on(executor: Executor) -> None:
    plan = plan_of({"stack": {"kind": "stack", "copies": 2, "epochs": 3000}}, validation={"scheme": "holdout"})
    first, second = plan.tasks

    def cancel(event: Event, session: Session) -> None:
        if isinstance(event, Started) and event.task.key == first.key:
            session.cancel(first)

    events = run_packed(executor, plan, on=cancel)

    assert [event.task.key for event in events if isinstance(event, Cancelled)] == [first.key]
    assert list(fitted(events)) == [second.key]


def test_a_task_of_a_pack_that_diverges_fails_alone(executor: Executor) -> None:
    plan = copies(diverges_in_copy=1)

    events = run_packed(executor, plan)

    assert [(event.task.label, event.status, event.final) for event in failures(events)] == [
        ("stack.2", "diverged", True),
        ("stack.2", "diverged", True),
    ]
    assert {event.task.label for event in fitted(events).values()} == {"stack.1", "stack.3"}


def test_copies_that_a_pack_does_not_end_have_failed() -> None:
    events = run_packed(LocalExecutor(), copies(3, forgets=True), policy=Policy(retries=0))

    assert [event.message for event in failures(events) if event.final and event.task.fold == 0] == [
        "RuntimeError: fit_many of Stack ended before 2 of its 3 fits"
    ] * 2
    assert len(fitted(events)) == 2


def test_a_stopped_pack_keeps_a_checkpoint_of_each_task_and_goes_on_to_the_same_bits(executor: Executor) -> None:
    plan = plan_of({"stack": {"kind": "stack", "copies": 2, "epochs": 2000}}, validation={"scheme": "holdout"})
    checkpoints: dict[str, bytes] = {}

    def stop(event: Event, session: Session) -> None:
        if isinstance(event, Reported) and event.epoch == 3:
            session.stop()

    cut = run_packed(executor, plan, on=stop, kept=checkpoints)
    again = run_packed(LocalExecutor(), plan, kept=checkpoints)

    assert {event.task.key for event in cut if isinstance(event, Stopped)} == {task.key for task in plan.tasks}
    assert checkpoints.keys() == {task.key for task in plan.tasks}
    assert all(event.restored for event in again if isinstance(event, Started))
    assert hashes(again) == hashes(run(LocalExecutor(), plan))


def test_a_checkpoint_that_is_asked_for_is_taken_of_each_task_of_a_pack(executor: Executor) -> None:
    plan = plan_of({"stack": {"kind": "stack", "copies": 2, "epochs": 2000}}, validation={"scheme": "holdout"})
    checkpoints: dict[str, bytes] = {}
    asked = []

    def ask(event: Event, session: Session) -> None:
        if isinstance(event, Reported) and not asked:
            asked.append(event)
            session.checkpoint()

    events = run_packed(executor, plan, on=ask, policy=Policy(checkpoint_seconds=1000), kept=checkpoints)

    assert checkpoints.keys() == {task.key for task in plan.tasks}
    assert len(fitted(events)) == 2


@pytest.mark.chaos
def test_a_pack_whose_worker_dies_goes_on_from_its_checkpoints_to_the_same_bits(ray_session: None) -> None:
    from quorate.execution.ray.executor import RayExecutor

    plan = plan_of({"stack": {"kind": "stack", "copies": 2, "epochs": 2000}}, validation={"scheme": "holdout"})
    kept: dict[str, bytes] = {}
    workers: list[int] = []

    def kill_once(event: Event, session: Session) -> None:
        if isinstance(event, Started):
            workers.append(int(event.worker.rpartition(":")[2]))
        if isinstance(event, Checkpointed) and len(kept) == 2 and len(workers) == 2:
            os.kill(workers[0], signal.SIGKILL)
            workers.append(0)

    events = run_packed(RayExecutor(own=False), plan, on=kill_once, policy=Policy(checkpoint_seconds=0), kept=kept)

    assert [(event.task.label, event.status, event.final) for event in failures(events)] == [
        ("stack.1", "lost", False),
        ("stack.2", "lost", False),
    ]
    starts = [(event.task.label, event.restored) for event in events if isinstance(event, Started)]
    assert starts == [("stack.1", False), ("stack.2", False), ("stack.1", True), ("stack.2", True)]
    assert hashes(events) == hashes(run(LocalExecutor(), plan))
