"""Run the tasks of an assignment in a thread and yield their events; every executor uses it."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from quorate.data.table import Table
from quorate.errors import MachineError, UserError
from quorate.execution.assignment import Assignment, Control
from quorate.execution.attempt import FitAttempt, probabilities
from quorate.execution.content import ContentWriter, inline
from quorate.execution.event_queue import EventQueue
from quorate.execution.events import (
    ENDS,
    Cancelled,
    Event,
    Failed,
    Featured,
    OutOfTime,
    Predicted,
    Started,
    Status,
    Stopped,
)
from quorate.execution.memory_faults import exhausted_device
from quorate.execution.peak_memory import PeakMemory, peak_of_process
from quorate.members.backbone import extractor
from quorate.members.base import PackedFit, member_of
from quorate.plan.tasks import FeatureTask, FitTask, JobData, PredictTask
from quorate.training.context import Diverged

_LOOK_SECONDS, _WATCH_SECONDS = 0.1, 1.0
_THREAD = "quorate task: "
_ERRORS = (Exception, SystemExit, KeyboardInterrupt)
"""What users' code can raise in the thread of a task. The last two would end it without a word; Ctrl-C is raised in the
main thread only."""


def stream(
    assignments: Sequence[Assignment],
    data: JobData,
    control: Control,
    *,
    over: Callable[[], bool] | None = None,
    watch: Callable[[], Iterable[Event]] = tuple,
    write: ContentWriter = inline,
    train: Callable[[Assignment, Callable[[Event], None]], None] | None = None,
) -> Iterator[Event]:
    """Yield the events of one task, or of several that are trained together; the last of each is one of `ENDS`.

    If there is a deadline, the test predictions follow `Fitted` as `Predicted`, provided that they are made in time.
    The tasks run in a thread of their own, so that their events arrive while they work. When `over` returns True, they
    are given up and the thread is abandoned: they end as `Stopped` if they were asked to stop, else as `OutOfTime`.
    `watch` is called while the tasks give no event; its events are yielded. `write` writes the files of members and the
    states. `train` does the work of a single fit task elsewhere, and emits its events.
    """
    events = EventQueue()
    control.end_in(assignments[0].seconds_left)

    def work() -> None:
        try:
            if len(assignments) == 1 and not assignments[0].together:
                _run(assignments[0], data, control, events.put, write, train)
            else:
                _fit_together(assignments, data, control, events.put, write)
        finally:
            for assignment in assignments:
                control.asked.pop(assignment.number, None)
            events.put(None)

    name = ", ".join(str(assignment.task) for assignment in assignments)
    thread = threading.Thread(target=work, name=f"{_THREAD}{name}", daemon=True)
    thread.start()
    working = {assignment.task.key: assignment.task for assignment in assignments}
    while True:
        try:
            event = events.get(timeout=_WATCH_SECONDS if control.due is None else _LOOK_SECONDS)
            if event is None:
                thread.join()
                return
            if isinstance(event, ENDS):
                working.pop(event.task.key, None)
            yield event
            del event  # it may hold a state or a result
        except queue.Empty:
            yield from watch()
        if over is not None and over() and events.empty():
            for task in working.values():
                late = OutOfTime(task, True, "it had not ended when the time for training was over")
                yield Stopped(task) if control.stop.is_set() else late
            return


def at_work() -> set[threading.Thread]:
    """The threads of the tasks of this process, including those that were given up."""
    return {thread for thread in threading.enumerate() if thread.name.startswith(_THREAD)}


def _run(
    assignment: Assignment,
    data: JobData,
    control: Control,
    emit: Callable[[Event], None],
    write: ContentWriter,
    train: Callable[[Assignment, Callable[[Event], None]], None] | None,
) -> None:
    """Run one task; any error of it is a failure of this task."""
    task = assignment.task
    try:
        if train is not None:
            train(assignment, emit)
            return
        torch.set_num_threads(task.fit.numerics.threads if isinstance(task, PredictTask) else task.numerics.threads)
        if isinstance(task, FitTask):
            _fit(FitAttempt(assignment, data, control, emit, write))
        elif isinstance(task, PredictTask):
            _predict(assignment, task, data, control, emit)
        else:
            _extract(assignment, task, data, control, emit)
    except _ERRORS as error:
        emit(failure_of(assignment, error))


def failure_of(assignment: Assignment, error: BaseException) -> Failed:
    """The event of a task that ends with an exception; called where it is handled."""
    device = exhausted_device(error)
    status: Status = "diverged" if isinstance(error, Diverged) else "failed" if device is None else "memory"
    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    certain = isinstance(error, Diverged | UserError) and not isinstance(error, MachineError)
    tail = "".join(traceback.format_exception(error))
    failed = Failed(assignment.task, assignment.attempt, status, message, tail, assignment.log, certain=certain)
    return failed if device is None else replace(failed, device=device, used=peak_of_process())


def _fit(attempt: FitAttempt) -> None:
    try:
        attempt.fit()
    finally:
        attempt.context.clean()
    attempt.end()


def _fit_together(
    assignments: Sequence[Assignment],
    data: JobData,
    control: Control,
    emit: Callable[[Event], None],
    write: ContentWriter,
) -> None:
    """Fit several tasks of one kind in one model. Each gives its result when it has ended, also when another fails."""
    torch.set_num_threads(_fit_task(assignments[0]).numerics.threads)
    attempts: list[FitAttempt] = []
    left = dict(enumerate(assignments))
    try:
        attempts.extend(FitAttempt(one, data, control, emit, write, among=len(assignments)) for one in assignments)
        kind = type(attempts[0].member)
        assert kind.packs and all(type(attempt.member) is kind for attempt in attempts), "these cannot share a model"
        parts = [PackedFit(one.member, one.train, one.valid, one.context) for one in attempts]
        for position, error in kind.fit_many(parts):
            if (ended := left.pop(position, None)) is None:
                raise RuntimeError(f"fit_many of {kind.__name__} yielded {position}, not a fit that has not ended")
            if error is not None:
                emit(failure_of(ended, error))
            else:
                _end(attempts[position], emit)
        if left:
            raise RuntimeError(f"fit_many of {kind.__name__} ended before {len(left)} of its {len(parts)} fits")
    except _ERRORS as error:  # it fails all tasks that have not ended
        for assignment in left.values():
            emit(failure_of(assignment, error))
    finally:
        for attempt in attempts:
            attempt.context.clean()


def _end(attempt: FitAttempt, emit: Callable[[Event], None]) -> None:
    try:
        attempt.end()
    except _ERRORS as error:  # the others of the model go on
        emit(failure_of(attempt.assignment, error))


def _fit_task(assignment: Assignment) -> FitTask:
    assert isinstance(assignment.task, FitTask), "only fits are trained together"
    return assignment.task


def _predict(
    assignment: Assignment, task: PredictTask, context: JobData, control: Control, emit: Callable[[Event], None]
) -> None:
    assert assignment.files is not None and context.test is not None
    emit(Started(task, assignment.attempt, control.worker, assignment.log))
    member = member_of(assignment.files, device=task.fit.numerics.device)
    proba = probabilities(member, context.test)
    emit(Cancelled(task) if control.asked.get(assignment.number) == "cancel" else Predicted(task, proba))


def _extract(
    assignment: Assignment, task: FeatureTask, context: JobData, control: Control, emit: Callable[[Event], None]
) -> None:
    started, memory = time.perf_counter(), PeakMemory()
    emit(Started(task, assignment.attempt, control.worker, assignment.log))
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
    emit(Featured(task, matrix, time.perf_counter() - started, memory.used()))
