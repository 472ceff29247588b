"""One attempt at a fit task: the member, its rows, its context, and its result."""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from quorate.data.dataset import Dataset
from quorate.errors import UserError
from quorate.execution.assignment import Assignment, Control
from quorate.execution.content import ContentWriter
from quorate.execution.estimates import epochs_of
from quorate.execution.events import (
    Cancelled,
    Checkpointed,
    Event,
    Fitted,
    OutOfTime,
    Predicted,
    Reported,
    SoFar,
    Started,
    Stopped,
)
from quorate.execution.interim import Interim
from quorate.execution.peak_memory import PeakMemory
from quorate.members.base import Member, Proba, saved_files
from quorate.plan.identity import predict_key
from quorate.plan.tasks import FitTask, JobData, PredictTask
from quorate.registry import MEMBERS
from quorate.training.context import ENDED, Diverged, Metrics, Signal, State, TaskContext
from quorate.training.curves import with_labels
from quorate.training.state import StateError, pack_state, unpack_state

_COST_OF_CHECKPOINTS = 0.02
"""Largest part of the training time that checkpoints may take."""
_JUDGED_CHECKPOINTS = 3
"""The interval follows the fastest of the last checkpoints: one that waited for a store that was away for 20 s would
otherwise be the last one for a quarter of an hour."""
_COST_OF_PREDICTING = 0.7
"""Cost of predicting a batch, relative to a training step: a forward pass is a third of a step, and takes twice as
long in float32 as in bfloat16."""
_SAFETY = 1.25
"""Test predictions may take up to this many times the estimate from the validation rows (an assumption)."""
_FOR_TEST_ROWS = 0.2
"""Largest part of a network's time until its result is due that is kept for the test predictions (an assumption)."""


class FitAttempt:
    """An attempt at the fit task of an assignment; `among` attempts of a pack share the time of the worker.

    Making one emits `Started`. `end`, after the training, emits its result. `write` writes the files of the member and
    the states.
    """

    def __init__(
        self,
        assignment: Assignment,
        data: JobData,
        control: Control,
        emit: Callable[[Event], None],
        write: ContentWriter,
        *,
        among: int = 1,
    ) -> None:
        task = assignment.task
        assert isinstance(task, FitTask)
        self._started, self._among, self._write = time.perf_counter(), among, write
        self.assignment, self.task, self._control, self._emit = assignment, task, control, emit
        self._memory = PeakMemory()
        restored, self._spent = _restored(assignment, task)
        emit(
            Started(
                task, assignment.attempt, control.worker, assignment.log, restored is not None, _epochs_in(restored)
            )
        )
        fold, rows = data.folds[task.fold], data.train
        self.member: Member = MEMBERS.get(task.kind)(task.params, signature=rows.signature, n_classes=rows.n_classes)
        procedure = task.procedure
        self.train, self.valid = rows.take(fold.train), rows.take(fold.valid)
        self._test = data.test if task.until is None and (procedure is None or procedure.tests) else None
        self._test_now = control.due is None
        interim = Interim(lambda member: self._results(member, complete=False), self.valid.x)
        self.context = _TaskRun(assignment, task, restored, self._spent, data, control, emit, write, interim, among)
        self._interim = interim

    def fit(self, context: TaskContext | None = None) -> None:
        """Train the member, by the procedure of its task if it has one; in another context if one is given."""
        chosen = context or self.context
        if (procedure := self.task.procedure) is None:
            self.member.fit(self.train, self.valid, chosen)
            return
        assert type(procedure) in self.member.procedures, f"{self.task.kind} does not support {procedure}"
        self.member.follow(procedure, self.train, self.valid, chosen)

    def end(self) -> None:
        """Emit the result of the trained member, and under a deadline the predictions of the test rows after it."""
        asked, run = self._control.asked.get(self.assignment.number), self.context
        if asked == "cancel":
            self._emit(Cancelled(self.task))
            return
        if self._control.stop.is_set():
            self._emit(Stopped(self.task))
            return
        due, as_asked = self._control.due, run.stopped and asked == "finish"
        self._test_now = self._test_now and not as_asked
        member = self.member
        if run.stopped and not run.reached and due is not None:
            if not with_labels(member.history):
                self._emit(OutOfTime(self.task, True, "it was stopped before its first epoch had ended"))
                return
            done = self._interim.last(member, due - time.monotonic())
            member = self._interim.member or member
        else:
            done = self._results(member, complete=run.reached or (not run.stopped and member.finished))
        self._emit(done)
        if self._test is not None and due is not None and not as_asked:
            most = 1.0 if run.stopped else self.assignment.for_tests
            _predict_in_time(done, member, self._test, self._control, self._emit, most)

    def _results(self, member: Member, *, complete: bool) -> Fitted:
        """The results of the task and of the other members of its fit."""
        seconds = self._spent + (time.perf_counter() - self._started) / self._among
        begun = time.perf_counter()
        views = [(other, member.view(other.view)) for other in self.task.others]
        others = [self._result(other, view, complete=complete) for other, view in views if view is not None]
        done = self._result(self.task, member, complete=complete)
        memory = self._memory.used(self._among)
        return replace(done, seconds=seconds, others=tuple(others), memory=memory, ending=time.perf_counter() - begun)

    def _result(self, task: FitTask, member: Member, *, complete: bool) -> Fitted:
        since, test = time.perf_counter(), None
        valid = probabilities(member, self.valid)
        each = 1e3 * (time.perf_counter() - since) / len(self.valid)
        if self._test_now and self._test is not None:
            test = probabilities(member, self._test)
        files = {name: self._write(content) for name, content in saved_files(member)}
        history = [_plain(metrics) for metrics in member.history]
        return Fitted(task, valid, history, files, 0.0, complete, test=test, predict_ms=each)


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
        emit(Predicted(PredictTask(predict_key(task.result_key, test), task), probabilities(chosen, test)))


class _TaskRun:
    """The `TaskContext` of a member: reports become events, the control channel becomes signals."""

    def __init__(
        self,
        assignment: Assignment,
        task: FitTask,
        restored: State | None,
        spent: float,
        context: JobData,
        control: Control,
        emit: Callable[[Event], None],
        write: ContentWriter,
        interim: Interim,
        among: int,
    ) -> None:
        self.seed, self.numerics, self.restored = task.seed, task.numerics, restored
        self.unlabelled = context.unlabelled
        self.stopped, self._write = False, write
        self.reached = bool(restored and restored.get(ENDED))
        """Whether the fit has trained the epochs that the task asks for."""
        self._epochs, self._interim = epochs_of(task), interim
        self._rows, self._test_rows = len(interim.valid), len(context.test) if context.test is not None else 0
        self._steps, self._first_step, self._checkpoint = 0, 0.0, 0.0
        interim.begin()
        self._copies: list[Path] = []
        self._task, self._assets, self._control, self._emit = task, context.assets, control, emit
        self._number, self._trained = assignment.number, bool((restored or {}).get("history"))
        self._least, self._last = assignment.checkpoint_seconds, time.monotonic()
        self._costs: deque[float] = deque(maxlen=_JUDGED_CHECKPOINTS)
        self._begun, self._spent, self._among = self._last, spent, among
        self._checkpoints = control.checkpoints
        self._epoch = _epochs_in(restored)

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

    @property
    def _interval(self) -> float:
        """Seconds between two checkpoints."""
        return max(self._least, min(self._costs, default=0.0) / _COST_OF_CHECKPOINTS)

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
            late, self.reached = False, self._task.until is not None  # that was the last epoch: the task is done
        stop = self._control.stop.is_set() or late or self.reached
        wanted = self._control.checkpoints
        if not (stop or wanted > self._checkpoints or now - self._last >= self._interval):
            return Signal.CONTINUE
        self._checkpoints = wanted
        taken = state()
        if taken:
            seconds = self._spent + (now - self._begun) / self._among
            # the key: a blob with a state must not be that of another task as well, because the next state removes it
            content = pack_state({"state": taken, "seconds": seconds, "task": self._task.state_key})
            self._emit(Checkpointed(self._task, self._write(content), last=stop))
        self._last = time.monotonic()
        self._checkpoint = self._last - now
        self._costs.append(self._checkpoint)
        self.stopped = self.stopped or stop
        return Signal.STOP if stop else Signal.CHECKPOINT

    def _epoch_ended(self, metrics: Metrics, so_far: Callable[[], object] | None) -> bool:
        """Report an epoch, make an interim result if it is time for one, and return whether training is out of time."""
        self._epoch += 1
        self._trained = self._trained or bool(with_labels([metrics]))
        self._emit(Reported(self._task, self._epoch, _plain(metrics)))
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


def _restored(assignment: Assignment, task: FitTask) -> tuple[State | None, float]:
    """The state to continue from and the seconds spent on it; (None, 0) without a checkpoint or if it is damaged.

    A task that ends after some epochs cannot continue from a state with more of them.
    """
    if assignment.restored is None:
        return None, 0.0
    try:
        saved = unpack_state(assignment.restored)
    except StateError:
        return None, 0.0
    state: State = saved["state"]
    if task.until is not None and (epochs := _epochs_in(state)) >= task.until:
        if epochs > task.until:
            return None, 0.0
        state = {**state, ENDED: True}
    return state, float(saved["seconds"])


def probabilities(member: Member, rows: Dataset) -> Proba:
    """What a member predicts for rows.

    Raises `UserError` if that is not an array (rows, classes), and `Diverged` if it is not finite.
    """
    proba, expected = member.predict_proba(rows.x), (len(rows), rows.n_classes)
    if not isinstance(proba, np.ndarray) or proba.shape != expected:
        found = f"{proba.shape}" if isinstance(proba, np.ndarray) else f"a {type(proba).__name__}"
        whose = f"predict_proba of {type(member).__name__}"
        raise UserError(f"{whose} returned {found}, not an array of shape {expected} (rows, classes)")
    if not np.isfinite(proba).all():
        raise Diverged("the predicted probabilities are not finite")
    return proba


def _plain(metrics: Metrics) -> dict[str, float]:
    """The metrics of an epoch as plain numbers, without NumPy's types; raises `UserError` for other values."""
    try:
        return {name: value if isinstance(value, int | float) else float(value) for name, value in metrics.items()}
    except (AttributeError, TypeError, ValueError):
        raise UserError(f"the metrics of an epoch must be numbers by their names, but are {metrics!r}") from None


def _epochs_in(restored: State | None) -> int:
    """The number of epochs that a checkpoint contains, of the pretraining and the training."""
    return sum(len((restored or {}).get(part, ())) for part in ("pretrained", "history"))
