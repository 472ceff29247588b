"""One suite for every executor: the same events, the same bits, the same answer to failures."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.execution.jobs import CNN, failures, fitted, hashes, plan_of, run, task_of
from tests.execution.odd_members import Odd

from quorate.data.cache import CacheError
from quorate.data.shards import ShardError
from quorate.execution.base import Executor, Policy, Session
from quorate.execution.events import Checkpointed, Event, Failed, Fitted, Reported, Started, Stopped
from quorate.execution.local import LocalExecutor
from quorate.plan.tasks import Resources, Unit


def test_every_task_starts_reports_its_epochs_and_ends(executor: Executor) -> None:
    plan = plan_of({"cnn": CNN, "forest": {"kind": "random_forest", "trees": 5}})

    events = run(executor, plan)

    assert set(fitted(events)) == {task.key for task in plan.tasks}
    for task in plan.tasks:
        own = [event for event in events if event.task.key == task.key]
        assert isinstance(own[0], Started)
        assert isinstance(own[-1], Fitted)
        epochs = [event.epoch for event in own if isinstance(event, Reported)]
        assert epochs == list(range(1, 5 if task.member == "cnn" else 2))
        result = own[-1]
        assert result.complete
        assert result.valid.shape == (len(plan.context.folds[task.fold].valid), 10)
        assert result.test is not None and result.test.shape == (450, 10)
        assert "member.json" in result.files


@pytest.mark.system
def test_results_from_ray_do_not_refer_to_its_object_store(ray_session: None) -> None:
    from quorate.execution.ray.executor import RayExecutor

    executor, plan = RayExecutor(own=False), plan_of({"cnn": {**CNN, "epochs": 2, "ema": 0.9}})
    with executor.open(plan.context, Policy()) as session:
        session.submit(Unit((task,)) for task in plan.runs)
        events = list(session.events())

    results = [part for event in fitted(events).values() for part in event.all]
    assert len(results) == 4
    for part in results:
        assert part.test is not None
        assert all(array.base is None and array.flags.owndata for array in (part.valid, part.test))


def test_results_are_the_same_bits_as_in_this_process(executor: Executor) -> None:
    plan = plan_of({"cnn": CNN, "svm": {"kind": "svm"}})

    assert hashes(run(executor, plan)) == hashes(run(LocalExecutor(), plan))


def test_a_task_that_raises_is_retried_and_the_others_continue(executor: Executor, tmp_path: Path) -> None:
    plan = plan_of(
        {
            "bad": {"kind": "odd", "what": "raise"},
            "shaky": {"kind": "odd", "what": "raise_once", "mark": str(tmp_path / "mark")},
            "good": {"kind": "odd"},
        }
    )

    events = run(executor, plan, policy=Policy(retries=2))

    bad = [event for event in failures(events) if event.task.member == "bad"]
    assert [(event.task.fold, event.attempt, event.final) for event in bad if event.task.fold == 0] == [
        (0, 1, False),
        (0, 2, False),
        (0, 3, True),
    ]
    assert "this member always raises" in bad[0].message
    assert "odd_members.py" in bad[0].tail
    assert {(e.task.member, e.task.fold) for e in fitted(events).values()} == {
        ("shaky", 0), ("shaky", 1), ("good", 0), ("good", 1),
    }  # fmt: skip


def test_a_task_that_refuses_its_input_is_not_tried_again(executor: Executor) -> None:
    events = run(executor, plan_of({"bad": {"kind": "odd", "what": "refuse"}}), policy=Policy(retries=5))

    assert [(event.status, event.attempt, event.final) for event in failures(events)] == [("failed", 1, True)] * 2
    assert failures(events)[0].message == "the rows have no weights; add a column of weights"


def test_a_task_that_breaks_the_contract_fails_alone() -> None:
    wrong = {"gone": "exit", "narrow": "one_class_less", "wordy": "no_number"}
    plan = plan_of({name: {"kind": "odd", "what": what} for name, what in wrong.items()})

    events = run(LocalExecutor(), plan, policy=Policy(retries=0))

    failed = {event.task.title: (event.status, event.message) for event in failures(events)}
    words = "the metrics of an epoch must be numbers by their names, but are {'train_loss': 'low'}"
    shapes = {fold.part: len(plan.context.folds[fold.fold].valid) for fold in plan.of("narrow")}
    assert failed == {f"gone {part}": ("failed", "SystemExit: 3") for part in shapes} | {
        f"narrow {part}": (
            "failed",
            f"predict_proba of Odd returned ({rows}, 9), not an array of shape ({rows}, 10) (rows, classes)",
        )
        for part, rows in shapes.items()
    } | {f"wordy {part}": ("failed", words) for part in shapes}


@pytest.mark.parametrize("error", [ShardError("the server is gone"), CacheError("the disk is full")])
def test_a_task_that_fails_because_of_its_machine_is_tried_again(monkeypatch: pytest.MonkeyPatch, error) -> None:
    fit, errors = Odd.fit, [error]

    def fit_later(self, *given, **rest):
        if errors:
            raise errors.pop()
        return fit(self, *given, **rest)

    monkeypatch.setattr(Odd, "fit", fit_later)

    events = run(LocalExecutor(), plan_of({"good": {"kind": "odd"}}), policy=Policy(retries=1))

    assert [(event.message, event.final) for event in failures(events)] == [(str(error), False)]
    assert len(fitted(events)) == 2


def test_a_diverged_task_is_not_tried_again(executor: Executor) -> None:
    events = run(executor, plan_of({"hot": {"kind": "odd", "what": "diverge"}}), policy=Policy(retries=5))

    assert [(event.status, event.attempt, event.final) for event in failures(events)] == [("diverged", 1, True)] * 2
    assert "learning rate 100" in failures(events)[0].message


def test_stop_reaches_a_busy_task_which_checkpoints_and_ends(executor: Executor) -> None:
    plan = plan_of({"waiting": {"kind": "odd", "what": "wait", "copies": 3}})
    checkpoints: dict[str, bytes] = {}

    def on(event: Event, session: Session) -> None:
        if isinstance(event, Started):
            session.stop()

    begun = time.monotonic()
    events = run(executor, plan, on=on, checkpoints=checkpoints)

    assert time.monotonic() - begun < 30
    assert {event.task.key for event in events if isinstance(event, Stopped)} == {task.key for task in plan.tasks}
    assert {event.task.key for event in events if isinstance(event, Started)} == set(checkpoints)
    assert not fitted(events)


def test_a_checkpoint_is_taken_on_request_and_the_task_continues(executor: Executor) -> None:
    plan = plan_of({"cnn": {**CNN, "epochs": 30}})
    asked = []

    def on(event: Event, session: Session) -> None:
        if isinstance(event, Reported) and event.epoch == 2 and not asked:
            asked.append(event)
            session.checkpoint()

    events = run(executor, plan, on=on, policy=Policy(checkpoint_seconds=1000))

    assert any(isinstance(event, Checkpointed) for event in events)
    assert len(fitted(events)) == 2


def test_a_stopped_task_resumes_from_its_checkpoint_to_the_same_bits(executor: Executor) -> None:
    plan = plan_of({"cnn": {**CNN, "epochs": 12}})
    undisturbed = hashes(run(LocalExecutor(), plan))
    checkpoints: dict[str, bytes] = {}

    def stop_late(event: Event, session: Session) -> None:
        if isinstance(event, Reported) and event.epoch == 3:
            session.stop()

    cut = run(executor, plan, on=stop_late, checkpoints=checkpoints)
    assert len(fitted(cut)) < 2 and checkpoints
    again = run(LocalExecutor(), plan, checkpoints=checkpoints)

    assert any(event.restored for event in again if isinstance(event, Started))
    assert hashes(cut) | hashes(again) == undisturbed


def test_the_longest_unit_is_started_first(executor: Executor) -> None:
    plan = plan_of({name: {"kind": "odd", "price": price} for name, price in (("c", 1), ("a", 9), ("b", 3))})

    events = run(executor, plan, policy=Policy(workers=1))

    order = [event.task.member for event in events if isinstance(event, Started)]
    assert order == ["a", "a", "b", "b", "c", "c"]


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize(
    "number,cause",
    [(signal.SIGKILL, "SIGKILL, as its log names no other"), (signal.SIGSEGV, "SIGSEGV (Segmentation")],
)
def test_a_killed_worker_is_replaced_and_the_task_resumes_from_the_newest_checkpoint(
    ray_session: None, number: signal.Signals, cause: str
) -> None:
    from quorate.execution.ray.executor import RayExecutor

    plan = plan_of({"cnn": {**CNN, "epochs": 40}})
    undisturbed = hashes(run(LocalExecutor(), plan))
    executor, workers, killed = RayExecutor(own=False), {}, []

    def kill_once(event: Event, session: Session) -> None:
        if isinstance(event, Started):
            workers[event.task.key] = int(event.worker.rpartition(":")[2])
        if isinstance(event, Reported) and event.epoch == 5 and not killed:
            killed.append(event.task.key)
            os.kill(workers[event.task.key], number)

    events = run(executor, plan, on=kill_once, policy=Policy(checkpoint_seconds=0))
    executor.close()

    lost = failures(events)
    assert [(event.task.key, event.status, event.final) for event in lost] == [(killed[0], "lost", False)]
    assert lost[0].message.startswith(f"the worker died: {cause}")
    again = [event for event in events if isinstance(event, Started) and event.task.key == killed[0]]
    assert [event.restored for event in again] == [False, True]
    assert hashes(events) == undisturbed


@pytest.mark.slow
@pytest.mark.chaos
def test_a_worker_that_dies_each_time_fails_its_task_alone(ray_session: None, tmp_path: Path) -> None:
    from quorate.execution.ray.executor import RayExecutor

    executor = RayExecutor(own=False)
    plan = plan_of({"dies": {"kind": "odd", "what": "die_once"}, "good": {"kind": "odd"}})

    events = run(executor, plan, policy=Policy(lost_workers=1))
    executor.close()

    last = [event for event in failures(events) if event.final]
    assert {(event.task.member, event.status, event.attempt) for event in last} == {("dies", "lost", 2)}
    assert {event.task.member for event in fitted(events).values()} == {"good"}


@pytest.mark.system
def test_units_of_different_sizes_share_one_queue(ray_session: None) -> None:
    from quorate.execution.ray.executor import RayExecutor

    executor = RayExecutor(own=False)
    plan = plan_of(
        {"wide": {"kind": "odd", "cpus": 2, "price": 5}, "slim": {"kind": "odd", "seconds": 0.2, "copies": 2}}
    )

    events = run(executor, plan)
    executor.close()

    assert len(fitted(events)) == 6
    assert executor.slots(task_of(plan, "wide").resources) == 1
    assert executor.slots(task_of(plan, "slim").resources) == 2
    running, most = 0.0, 0.0
    for event in events:
        if isinstance(event, Started):
            running += event.task.resources.cpus
        elif isinstance(event, Fitted | Failed):
            running -= event.task.resources.cpus
        most = max(most, running)
    assert most <= 2


@pytest.mark.system
def test_a_unit_that_no_node_can_hold_fails_and_the_others_do_not_wait_for_it(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quorate.execution import node_waits
    from quorate.execution.ray.executor import RayExecutor

    monkeypatch.setattr(node_waits, "GRACE_SECONDS", 0.5)
    executor = RayExecutor(own=False)
    plan = plan_of({"huge": {"kind": "odd", "price": 9}, "good": {"kind": "odd"}})
    huge = Resources(memory=500 << 40)  # planning refuses it, unless the node that had it has left
    tasks = tuple(replace(task, resources=huge, share=None) if task.member == "huge" else task for task in plan.tasks)

    events = run(executor, replace(plan, tasks=tasks))
    executor.close()

    assert {event.task.member for event in fitted(events).values()} == {"good"}
    assert {(event.task.member, event.final) for event in failures(events)} == {("huge", True)}
    assert "no node of the cluster has 1 cpu, 512000.0 GiB" in failures(events)[0].message
