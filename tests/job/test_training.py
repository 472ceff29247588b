"""Which events of an executor are stored, and what the next attempt at a task gets."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.tiny import LAPTOP, alone, plan_of, tiny_data

from quorate.execution.base import Policy, Session
from quorate.execution.events import Checkpointed, Event, Failed, Fitted, OutOfTime, Predicted, Reported, SoFar, Started
from quorate.execution.interrupt import StopRequest
from quorate.execution.metrics import NoMetrics
from quorate.execution.workplace import Workplace
from quorate.job.outages import StoreOutages
from quorate.job.progress import JobProgress
from quorate.job.session import JobSession
from quorate.job.tracker import Tracker
from quorate.job.training import Trainer, train
from quorate.plan.groups import NodeGroup
from quorate.plan.identity import predict_key
from quorate.plan.tasks import DataAddition, FitTask, JobData, Plan, PredictTask, Resources, Task, Unit
from quorate.report.progress import Screen
from quorate.results.results import Results
from quorate.runs.folder import RunFolder
from quorate.runs.logs import RunLogs
from quorate.spec import file as jobfile
from quorate.spec import job as spec
from quorate.store import open_store
from quorate.tracking.journal import Journal

MEMBERS = "{n: {kind: net, arch: mlp, epochs: 2}}"
JOB = f"data: digits\nmembers: {MEMBERS}\n"


class Scripted:
    """An executor, and its session, whose events are written down before."""

    name = "local"

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events

    def groups_for(self, resources: Resources, *, present: bool = False) -> Sequence[NodeGroup]:
        return alone(LAPTOP).groups_for(resources)

    def metrics(self, run: str) -> NoMetrics:
        return NoMetrics()

    def slots(self, resources: Resources) -> int:
        return 1

    @contextmanager
    def open(self, data: JobData, policy: Policy) -> Iterator[Session]:
        yield self

    def submit(self, units: Iterable[Unit]) -> None: ...

    def place(self, addition: DataAddition) -> None: ...

    def finish(self, task: Task) -> None: ...

    def cancel(self, task: Task) -> None: ...

    def events(self) -> Iterator[Event]:
        yield from self._events

    def stop(self, within: float | None = None) -> None: ...

    def checkpoint(self) -> None: ...

    def close(self) -> None: ...


def epoch(loss: float) -> dict[str, float]:
    return {"train_loss": loss, "valid_loss": loss, "grad_norm": 1.0}


def result(plan: Plan, task: FitTask, *losses: float, complete: bool) -> Fitted:
    valid = np.full((len(plan.context.folds[task.fold].valid), 3), 1 / 3, np.float32)
    return Fitted(task, valid, [epoch(loss) for loss in losses], {"a": b"weights"}, 1.0, complete)


def kept(plan: Plan, events: Sequence[Event] | Scripted, folder: Path) -> JobProgress:
    """The progress after `train` has handled these events."""
    executor = events if isinstance(events, Scripted) else Scripted(events)
    job = spec.validate(jobfile.parse(JOB, name="job.yaml"), base=folder)
    run, console = RunFolder.create(folder / "runs", job), Console(file=io.StringIO())
    work, results = JobProgress(), Results(open_store(str(folder / "store")))
    tracker = Tracker(Journal(run.path / "journal.jsonl"), job.spec, plan, run=run.name)
    units, place = [Unit((task,)) for task in plan.tasks], Workplace("local", None, lambda executor: None)
    stop = StopRequest()
    with JobSession(stop) as session:
        logs, outages = RunLogs(run.path), StoreOutages(console.print, stopping=lambda: stop.requested)
        trainer = Trainer(job, place, results, tracker, logs, Screen(console, console), stop, session, outages)
        train(units, plan, work, executor, trainer)
    assert all(results.find(task) is None for task in plan.tasks if task.key not in work.fits)
    return work


@pytest.fixture
def plan() -> Plan:
    return plan_of(MEMBERS, test=tiny_data(rows=9, seed=1))


def test_test_predictions_of_a_rejected_model_are_left_out(plan: Plan, tmp_path: Path) -> None:
    # given: the second attempt's losses are others, and its worker has gone on to the test rows
    first, second = plan.tasks
    assert plan.context.test is not None
    proba = np.full((9, 3), 1 / 3, np.float32)
    events = [
        Started(first, 1, "a worker"),
        Reported(first, 1, epoch(0.5)),
        Started(first, 2, "another worker"),
        result(plan, first, 50.0, 0.4, complete=True),
        Predicted(PredictTask(predict_key(first.key, plan.context.test), first), proba),
        Started(second, 1, "a worker"),
        Reported(second, 1, epoch(0.5)),
        result(plan, second, 0.5, 0.4, complete=True),
        Predicted(PredictTask(predict_key(second.key, plan.context.test), second), proba),
    ]

    work = kept(plan, events, tmp_path)

    assert set(work.fits) == set(work.tests) == {second.key}
    assert work.failures[first.key].status == "diverged"
    assert (
        "two attempts at this task differ: in epoch 1, train_loss 0.5 in one and 50" in work.failures[first.key].message
    )


def test_an_interim_result_that_disagrees_with_an_earlier_attempt_is_rejected(plan: Plan, tmp_path: Path) -> None:
    # given: both networks run out of time in a second attempt, and have interim results
    first, second = plan.tasks
    events: list[Event] = []
    for task, loss in ((first, 50.0), (second, 0.5)):
        events += [
            Started(task, 1, "a worker"),
            Reported(task, 1, epoch(0.5)),
            Started(task, 2, "another worker"),
            SoFar(task, result(plan, task, loss, complete=False)),
            OutOfTime(task, True, "it had not ended"),
        ]

    work = kept(plan, events, tmp_path)

    assert set(work.fits) == {second.key} and not work.fits[second.key].complete
    assert set(work.failures) == {first.key} and not work.late


class Draining(Scripted):
    """Its task stops after a checkpoint, and at once the next attempt asks for the newest one."""

    def __init__(self, task: FitTask, write: threading.Event) -> None:
        self._task, self._write = task, write
        self.restored: bytes | None = None

    @contextmanager
    def open(self, data: JobData, policy: Policy) -> Iterator[Session]:
        self._policy = policy
        yield self

    def events(self) -> Iterator[Event]:
        yield Started(self._task, 1, "a worker")
        yield Checkpointed(self._task, b"epoch 7", last=True)
        self.restored = self._policy.sources.checkpoint(self._task)
        self._write.set()


def test_the_next_attempt_gets_a_checkpoint_that_is_not_in_the_store_yet(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, keep = threading.Event(), Results.keep_checkpoint
    monkeypatch.setattr(Results, "keep_checkpoint", lambda self, taken: (write.wait(10), keep(self, taken)))
    executor = Draining(plan.tasks[0], write)

    kept(plan, executor, tmp_path)

    assert executor.restored == b"epoch 7"
    assert Results(open_store(str(tmp_path / "store"))).checkpoint(plan.tasks[0]) == b"epoch 7"


def test_a_network_that_fails_under_a_budget_counts_with_its_last_interim_result(plan: Plan, tmp_path: Path) -> None:
    # given: the worker of the first network dies for the last time, and the second diverges
    first, second = plan.tasks
    events: list[Event] = []
    for task, status in ((first, "lost"), (second, "diverged")):
        events += [
            Started(task, 1, "a worker"),
            SoFar(task, result(plan, task, 0.5, complete=False)),
            Failed(task, 6, status, "the worker died", final=True),
        ]

    work = kept(plan, events, tmp_path)

    assert set(work.fits) == {first.key} and not work.fits[first.key].complete
    assert set(work.failures) == {second.key} and not work.late
