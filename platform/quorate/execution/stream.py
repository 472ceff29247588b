"""Run one task in a thread and yield its events; every executor uses it."""

from __future__ import annotations

import os
import platform
import queue
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from quorate.data.dataset import Dataset
from quorate.data.table import Table
from quorate.errors import UserError
from quorate.execution.base import Policy
from quorate.execution.estimates import epochs_of
from quorate.execution.events import (
    ENDS,
    Cancelled,
    Checkpointed,
    Event,
    Failed,
    Featured,
    Fitted,
    OutOfTime,
    Predicted,
    Reported,
    SoFar,
    Started,
    Status,
    Stopped,
)
from quorate.execution.interim import Interim
from quorate.members.backbone import extractor
from quorate.members.base import Member, Proba, files_of, member_of
from quorate.plan.identity import predict_key
from quorate.plan.tasks import FeatureTask, FitTask, JobData, PredictTask, Task
from quorate.registry import MEMBERS
from quorate.training.context import Diverged, Hardware, Metrics, Signal, State
from quorate.training.curves import with_labels
from quorate.training.state import StateError, pack_state, unpack_state

_COST_OF_CHECKPOINTS = 0.02
"""Largest part of the training time that checkpoints may take."""
_COST_OF_PREDICTING = 0.7
"""Cost of predicting a batch, relative to a training step: a forward pass is a third of a step, and takes twice as
long in float32 as in bfloat16."""
_SAFETY = 1.25
"""Test predictions may take up to this many times the estimate from the validation rows (an assumption)."""
_FOR_TEST_ROWS = 0.2
"""Largest part of a network's time until its result is due that is kept for the test predictions (an assumption)."""
_LOOK_SECONDS = 0.1
_THREAD = "quorate task: "


@dataclass(frozen=True)
class Assignment:
    """One task with all that a worker needs in addition to the data of the job."""

    task: Task
    attempt: int
    checkpoint_seconds: float
    number: int = 0
    """Differs between the assignments of a session; signals for one task name it."""
    restored: bytes | None = None
    files: dict[str, bytes] | None = None
    log: str = ""
    seconds_left: float | None = None
    """Seconds until the result is due; not a time of day, because clocks differ between machines."""
    for_tests: float = 1.0
    """Largest part of the remaining time for test predictions, if there is a deadline and the fit ended before it."""


def assign(
    task: Task, number: int, *, attempt: int, policy: Policy, seconds_left: float | None, for_tests: float
) -> Assignment:
    """Make the assignment of a task: adds the newest checkpoint of a fit, or the files of the fit to predict with."""
    plain = Assignment(task, attempt, policy.checkpoint_seconds, number)
    if isinstance(task, FitTask):
        restored = policy.sources.checkpoint(task)
        return replace(plain, restored=restored, seconds_left=seconds_left, for_tests=for_tests)
    return replace(plain, files=policy.sources.files(task.fit)) if isinstance(task, PredictTask) else plain


@dataclass
class Control:
    """The control channel: set from outside, read by the task at its next report."""

    stop: threading.Event = field(default_factory=threading.Event)
    checkpoint: threading.Event = field(default_factory=threading.Event)
    due: float | None = None
    """When the result is due, as `time.monotonic` of this process; None without a deadline."""
    asked: dict[int, Literal["finish", "cancel"]] = field(default_factory=dict)
    """What was asked of single tasks, by the number of their assignment."""

    def end_in(self, seconds: float | None) -> None:
        self.due = None if seconds is None else time.monotonic() + seconds


def stream(
    assignment: Assignment, context: JobData, control: Control, *, over: Callable[[], bool] | None = None
) -> Iterator[Event]:
    """Yield the events of one task; the last is one of `ENDS`.

    If there is a deadline, the test predictions follow `Fitted` as `Predicted`, provided that they are made in time.
    The task runs in its own thread, so that its events arrive while it works. When `over` returns True, the task is
    given up and its thread is abandoned.
    """
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    control.end_in(assignment.seconds_left)

    def work() -> None:
        try:
            if isinstance(assignment.task, FitTask):
                _fit(assignment, assignment.task, context, control, events.put)
            elif isinstance(assignment.task, PredictTask):
                _predict(assignment, assignment.task, context, control, events.put)
            else:
                _extract(assignment, assignment.task, context, control, events.put)
        except Exception as error:  # noqa: BLE001  (any error of a member is a failure of this task)
            status: Status = "diverged" if isinstance(error, Diverged) else "failed"
            message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            certain = isinstance(error, Diverged | UserError)
            tail = traceback.format_exc()
            events.put(
                Failed(assignment.task, assignment.attempt, status, message, tail, assignment.log, certain=certain)
            )
        finally:
            control.asked.pop(assignment.number, None)
            events.put(None)

    thread = threading.Thread(target=work, name=f"{_THREAD}{assignment.task}", daemon=True)
    thread.start()
    ended = False
    while True:
        try:
            event = events.get(timeout=_LOOK_SECONDS if over else None)
            if event is None:
                thread.join()
                return
            ended = ended or isinstance(event, ENDS)
            yield event
        except queue.Empty:
            pass
        if over is not None and over() and events.empty():
            if not ended:
                yield OutOfTime(assignment.task, True, "it had not ended when the time for training was over")
            return


def at_work() -> set[threading.Thread]:
    """The threads of the tasks of this process, including those that were given up."""
    return {thread for thread in threading.enumerate() if thread.name.startswith(_THREAD)}


def _fit(
    assignment: Assignment, task: FitTask, context: JobData, control: Control, emit: Callable[[Event], None]
) -> None:
    started = time.perf_counter()
    torch.set_num_threads(task.numerics.threads)  # applies to the calling thread
    restored, spent = _restored(assignment)
    worker = f"{socket.gethostname()}:{os.getpid()}"
    emit(Started(task, assignment.attempt, worker, assignment.log, restored is not None))
    fold = context.folds[task.fold]
    data = context.train
    member: Member = MEMBERS.get(task.kind)(task.params, signature=data.signature, n_classes=data.n_classes)
    valid_rows = context.train.take(fold.valid)

    def result(task: FitTask, member: Member, **more: Any) -> Fitted:
        since = time.perf_counter()
        valid = _checked(member.predict_proba(valid_rows.x))
        each = 1e3 * (time.perf_counter() - since) / len(valid_rows)
        test = _checked(member.predict_proba(context.test.x)) if test_now and context.test is not None else None
        files = files_of(member)
        return Fitted(task, valid, member.history, files, test=test, predict_ms=each, **more)

    def results(member: Member, *, complete: bool) -> Fitted:
        """The results of the task and of the other members of its fit."""
        seconds = spent + time.perf_counter() - started
        views = [(other, member.view(other.view)) for other in task.others]
        others = [result(other, view, seconds=0.0, complete=complete) for other, view in views if view is not None]
        done = result(task, member, seconds=seconds, complete=complete, others=tuple(others))
        return replace(done, ending=spent + time.perf_counter() - started - seconds)

    test_now = control.due is None
    interim = Interim(lambda member: results(member, complete=False), valid_rows.x)
    run = _TaskRun(task, assignment, restored, spent, context, control, emit, interim)
    try:
        member.fit(context.train.take(fold.train), valid_rows, run)
    finally:
        run.clean()
    asked = control.asked.get(assignment.number)
    if asked == "cancel":
        emit(Cancelled(task))
        return
    if control.stop.is_set():
        emit(Stopped(task))
        return
    due, as_asked = control.due, run.stopped and asked == "finish"
    test_now = test_now and not as_asked
    if run.stopped and due is not None:
        if not with_labels(member.history):
            emit(OutOfTime(task, True, "it was stopped before its first epoch had ended"))
            return
        done = interim.last(member, due - time.monotonic())
        member = interim.member or member
    else:
        done = results(member, complete=not run.stopped and member.finished)
    emit(done)
    if context.test is not None and due is not None and not as_asked:
        most = 1.0 if run.stopped else assignment.for_tests
        _predict_in_time(done, member, context.test, control, emit, most)


def _predict_in_time(
    done: Fitted, member: Member, test: Dataset, control: Control, emit: Callable[[Event], None], most: float
) -> None:
    """Predict the test rows with each member of a fit that takes at most the part `most` of the remaining time."""
    members = {part.task.view: part.task for part in done.all}
    for view, task in members.items():
        assert done.predict_ms is not None and control.due is not None
        if _SAFETY * done.predict_ms * len(test) / 1e3 > most * (control.due - time.monotonic()):
            return
        chosen = member.view(view) if view else member
        assert chosen is not None, "it has predicted the validation rows"
        emit(Predicted(PredictTask(predict_key(task.key, test), task), _checked(chosen.predict_proba(test.x))))


def _predict(
    assignment: Assignment, task: PredictTask, context: JobData, control: Control, emit: Callable[[Event], None]
) -> None:
    assert assignment.files is not None and context.test is not None
    torch.set_num_threads(task.fit.numerics.threads)
    emit(Started(task, assignment.attempt, f"{socket.gethostname()}:{os.getpid()}", assignment.log))
    member = member_of(assignment.files)
    proba = _checked(member.predict_proba(context.test.x))
    emit(Cancelled(task) if control.asked.get(assignment.number) == "cancel" else Predicted(task, proba))


def _extract(
    assignment: Assignment, task: FeatureTask, context: JobData, control: Control, emit: Callable[[Event], None]
) -> None:
    started = time.perf_counter()
    torch.set_num_threads(task.numerics.threads)
    emit(Started(task, assignment.attempt, f"{socket.gethostname()}:{os.getpid()}", assignment.log))
    data = context.train if task.part == "train" else context.test
    assert data is not None and not isinstance(data.x, Table)
    extract = extractor(task.backbone, data.x.shape, context.backbones[task.backbone], task.numerics)

    def cancelled() -> bool:
        return control.asked.get(assignment.number) == "cancel"

    rows = data.x.subset(np.arange(task.start, task.stop))
    matrix = extract(rows, stop=lambda: control.stop.is_set() or cancelled())
    if matrix is None:
        emit(Cancelled(task) if cancelled() else Stopped(task))
        return
    if not np.isfinite(matrix).all():
        raise Diverged(f"{task.label} gives numbers that are not finite; check its weights")
    emit(Featured(task, matrix, time.perf_counter() - started))


class _TaskRun:
    """The `TaskContext` of a member: reports become events, the control channel becomes signals."""

    def __init__(
        self,
        task: FitTask,
        assignment: Assignment,
        restored: State | None,
        spent: float,
        context: JobData,
        control: Control,
        emit: Callable[[Event], None],
        interim: Interim,
    ) -> None:
        self.seed, self.numerics, self.restored = task.seed, task.numerics, restored
        self.unlabelled = context.unlabelled
        self.stopped = False
        self._epochs, self._interim = epochs_of(task), interim
        self._rows, self._test_rows = len(interim.valid), len(context.test) if context.test is not None else 0
        self._steps, self._first_step, self._checkpoint = 0, 0.0, 0.0
        interim.begin()
        self._copies: list[Path] = []
        self._task, self._assets, self._control, self._emit = task, context.assets, control, emit
        self._number, self._trained = assignment.number, bool((restored or {}).get("history"))
        self._interval, self._last, self._begun = (
            assignment.checkpoint_seconds,
            time.monotonic(),
            time.monotonic() - spent,
        )
        self._epoch = sum(len((restored or {}).get(part, ())) for part in ("pretrained", "history"))

    @property
    def deadline(self) -> float | None:
        """When to end the fit, so that the predictions are made by the deadline; None without a deadline."""
        due, interim = self._control.due, self._interim
        if due is None or self._epochs is None:
            return None
        step = (time.monotonic() - self._first_step) / (self._steps - 1) if self._steps > 1 else 0.0
        if interim.known and interim.cost:
            valid, row = interim.ending, interim.row_seconds
        else:
            row = step * _COST_OF_PREDICTING / max(self.numerics.batch_size, 1)
            valid = 0.0 if interim.known and interim.fresh else self._rows * row
        test = _SAFETY * self._test_rows * row
        if test > _FOR_TEST_ROWS * (due - interim.begun):
            test = 0.0
        return due - step - self._checkpoint - valid - test

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        late = self._epoch_ended(metrics, so_far) if metrics is not None else False
        now = time.monotonic()
        self._steps += 1
        self._first_step = self._first_step or now
        deadline = self.deadline
        asked = self._control.asked.get(self._number)
        if asked == "cancel":
            self.stopped = True
            return Signal.STOP
        finish = asked == "finish" and self._trained and self._epochs is not None
        late = late or finish or (deadline is not None and now >= deadline)
        if metrics is not None and self._epoch == self._epochs:
            late = False  # that was the last epoch: the whole task is done
        stop = self._control.stop.is_set() or late
        if not (stop or self._control.checkpoint.is_set() or now - self._last >= self._interval):
            return Signal.CONTINUE
        self._control.checkpoint.clear()
        taken = state()
        if taken:
            content = pack_state({"state": taken, "seconds": now - self._begun})
            self._emit(Checkpointed(self._task, content))
        self._last = time.monotonic()
        self._checkpoint = self._last - now
        self._interval = max(self._interval, self._checkpoint / _COST_OF_CHECKPOINTS)
        self.stopped = self.stopped or stop
        return Signal.STOP if stop else Signal.CHECKPOINT

    def _epoch_ended(self, metrics: Metrics, so_far: Callable[[], object] | None) -> bool:
        """Report an epoch, make an interim result if it is time for one, and return whether training is out of time."""
        self._epoch += 1
        self._trained = self._trained or bool(with_labels([metrics]))
        self._emit(Reported(self._task, self._epoch, dict(metrics)))
        due = self._control.due
        if due is None or self._epochs is None:
            return False
        with torch.random.fork_rng():  # predicting must not change the random numbers of the training
            result = self._interim.after_epoch(so_far, due=due, epochs_left=self._epochs - self._epoch)
        if result is not None:
            self._emit(SoFar(self._task, result))
        return self._interim.nothing_more_fits(due)

    def asset(self, path: Path) -> Path:
        with tempfile.NamedTemporaryFile(prefix="quorate-", suffix=path.suffix, delete=False) as file:
            file.write(self._assets[str(path)])
        self._copies.append(Path(file.name))
        return self._copies[-1]

    def clean(self) -> None:
        """Remove the copies of assets."""
        for copy in self._copies:
            copy.unlink(missing_ok=True)


def _restored(assignment: Assignment) -> tuple[State | None, float]:
    """The state to continue from and the seconds spent on it; (None, 0) without a checkpoint or if it is damaged."""
    if assignment.restored is None:
        return None, 0.0
    try:
        saved = unpack_state(assignment.restored)
    except StateError:
        return None, 0.0
    return saved["state"], float(saved["seconds"])


def _checked(proba: Proba) -> Proba:
    if not np.isfinite(proba).all():
        raise Diverged("the predicted probabilities are not finite")
    return proba


def this_hardware() -> Hardware:
    """The hardware of this machine."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    model = next((line.split(":")[1].strip() for line in flags.splitlines() if line.startswith("model name")), "")
    gpus = torch.cuda.device_count()
    fast = torch.cuda.is_bf16_supported() if gpus else "avx512_bf16" in flags or "amx_bf16" in flags
    isa = torch.backends.cpu.get_cpu_capability()
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = torch.cuda.get_device_properties(0).total_memory if gpus else machine
    return Hardware(os.cpu_count() or 1, gpus, fast, f"{model or platform.machine()} {isa}", memory)
