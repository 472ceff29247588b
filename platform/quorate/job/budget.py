"""What a job does about its budget: the time kept for its end, the folds that count, and what it left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.data.folds import Fold
from quorate.ensemble.combining_time import combining_seconds
from quorate.ensemble.quorum import common_folds, coverage
from quorate.execution.base import Executor
from quorate.execution.budget import Budget
from quorate.execution.estimates import epochs_of
from quorate.execution.events import OutOfTime
from quorate.execution.workplace import Workplace
from quorate.job.training import JobProgress, WorkerShares, seconds_to_quorum
from quorate.plan.tasks import Plan, Resources, Unit
from quorate.registry import COMBINERS
from quorate.report.budget import format_duration, ranges
from quorate.results.results import Fit
from quorate.spec import ExecutionSpec, Job, JobSpec, QuorumSpec
from quorate.training.curves import with_labels

PICTURES, TRAIN_DEV = "pictures", "train_dev"
"""What the end of a job may leave out, as leaderboards call it."""
ENOUGH_ROWS, ENOUGH_OF_ALL = 500, 0.5
"""From so many rows in common on, or from this part of all, a member more is worth more to the ensemble than rows."""

_CLOSING = {"local": 1.5, "ray": 3.0}
"""Seconds to write the run's files and to end the workers and this process."""
_PICTURE = 0.4
"""Seconds to draw one."""
_A_MEMBER = 2
"""The curves of one are as much as so many pictures, and so is the sheet of all."""
_STARTUP = {"local": 4.0, "ray": 8.0}
"""Seconds in which the command is ready to train where the figures above were measured, an idle machine; reading the
data does not count."""
_RAY = 9.0
"""Seconds until Ray and its first worker are ready, where the start before took those of `_STARTUP`. On a machine with
three times as many busy processes as cores, 19 s after a start of 9 s."""
_SLOWEST, _MOST = 4.0, 0.25
"""The figures above are taken to be at most so many times too small, and to need at most this part of the budget."""
_FOR_PICTURES = 0.04
"""Largest part of the budget that is reserved for plots."""
_REUSED = 0.02
"""Seconds to pack a fit task of earlier work; what packing the others takes is told by what keeping them took."""
_SAFETY = 1.5
"""Combining may take so much longer than its rehearsal: workers that were given up may still be busy."""


@dataclass
class ClosingTime:
    """What the end of a job may still do by the time that is left, and what was left out; without a budget all is done.

    `slow` says how many times longer things take than where the figures above were measured, `closing` are the seconds
    that the command needs once all is done.
    """

    budget: Budget | None = None
    slow: float = 1.0
    closing: float = 0.0
    left_out: list[str] = field(default_factory=list)

    def measure(self, executor: str, startup: float) -> None:
        """Learn how busy the machine is by the seconds that this command took until it was ready to train."""
        if self.budget is not None:
            self.slow = min(max(startup / _STARTUP[executor], 1.0), _SLOWEST)
            self.closing = min(self.slow * _CLOSING[executor], _MOST * self.budget.seconds)

    def is_too_short_for_ray(self, workers: int) -> bool:
        """Whether this process alone has more time to train than this number of `workers` once Ray has started them."""
        starting = self.slow * _RAY
        return workers * (self.left() - starting) < self.left()

    def left(self) -> float:
        """Seconds that may still be spent."""
        return math.inf if self.budget is None else self.budget.left() - self.closing

    def has_time_for(self, what: str, seconds: float) -> bool:
        """Whether there is time for `what`, which takes `seconds` on an idle machine; if not, it is left out."""
        if self.slow * seconds <= self.left():
            return True
        if what not in self.left_out:
            self.left_out.append(what)
        return False

    def pictures(self, drawn: Iterator[Path]) -> Iterator[Path]:
        """As many of the pictures as there is time for."""
        while self.has_time_for(PICTURES, _PICTURE) and (path := next(drawn, None)) is not None:
            yield path


def open_executor(
    place: Workplace,
    job: Job,
    plan: Plan,
    work: JobProgress,
    closing: ClosingTime,
    opening: float,
    say: Callable[[str], None],
) -> Executor:
    """The executor of the job; under a budget, without Ray if its start takes too much of the time.

    Reading the data took `opening` seconds, which say nothing of how busy the machine is. The budget learns what
    comes after training.
    """
    budget, spec = closing.budget, job.spec
    closing.measure("local", (budget.used() if budget is not None else 0.0) - opening)
    if place.starts_ray and closing.is_too_short_for_ray(workers(plan, place.slots, spec.execution)):
        say("little time: the members are trained in this process, without Ray")
        place.stay_in_this_process()
    executor = place.executor()
    if budget is not None:
        closing.measure(executor.name, budget.used() - opening)
        budget.reserve = seconds_after_training(spec, plan, budget, closing, reused=len(work.fits))
        budget.startup = budget.used()
    return executor


def seconds_after_training(spec: JobSpec, plan: Plan, budget: Budget, ending: ClosingTime, *, reused: int) -> float:
    """What the job needs once training is over, `reused` fit tasks being there already."""
    members, test = len(plan.labels), plan.context.test
    combining = combining_seconds(
        combiner=COMBINERS.get(spec.combiner.kind)(spec.combiner),
        members=members,
        rows=_rows(plan.context.folds.folds),
        n_classes=plan.context.train.n_classes,
    )
    curves = {task.member for task in plan.tasks if epochs_of(task)}
    pictures = _A_MEMBER * (len(curves) + bool(curves)) + (1 if test is None else 2)
    drawing = min(ending.slow * _PICTURE * pictures, _FOR_PICTURES * budget.seconds)
    aside = ending.slow * train_dev_seconds(plan)
    rest = min(ending.closing + drawing + aside, _MOST * budget.seconds)
    return _SAFETY * combining + _REUSED * reused + rest


def workers(plan: Plan, slots: Callable[[Resources], int], spec: ExecutionSpec) -> int:
    """How many fit tasks of the plan run at the same time."""
    return min(len(plan.runs), spec.workers or len(plan.runs), *(slots(task.resources) for task in plan.runs))


def train_dev_seconds(plan: Plan) -> float:
    """Of predicting the rows that are set aside in this process: a pass forward is a third of a training pass."""
    if plan.context.train_dev is None:
        return 0.0
    passes = sum(task.cost / (3 * (epochs_of(task) or 1)) for task in plan.tasks)
    return passes * len(plan.context.train_dev) / max(len(plan.context.folds[0].train), 1)


def leave_out_beginnings(plan: Plan, work: JobProgress) -> None:
    """Count folds as out of time where a network got less than half as far as in its furthest one.

    They would share one temperature and weight with much better predictions, and would spoil the member. The
    checkpoint stays.
    """
    for label in plan.labels:
        done = {task: _trained(work.fits[task.key]) for task in plan.of(label) if task.key in work.fits}
        for task, part in done.items():
            if part < max(done.values()) / 2:
                message = f"it was stopped after {len(work.fits[task.key].history)} of {epochs_of(task)} epochs"
                work.late[task.key] = OutOfTime(task, True, message)
                del work.fits[task.key]


def _trained(fit: Fit) -> float:
    """The part of its epochs that a fit task has had."""
    return 1.0 if fit.complete else len(fit.history) / (epochs_of(fit.task) or 1)


@dataclass(frozen=True)
class Attendance:
    """The `members` (M,) that make the ensemble, and the `folds` (F,) on whose rows they are combined."""

    members: NDArray[np.bool_]
    folds: NDArray[np.bool_]
    quorum: int
    """Members that the job asks for."""
    short: bool = False
    """Whether time, and no failure, left fewer than that."""


def turnout(plan: Plan, work: JobProgress, quorum: QuorumSpec) -> Attendance:
    """Who makes the ensemble: members with all folds, or as many as the job says, unless the budget left some out.

    Then, where the job does not say how many folds a member needs, those with the folds that enough members share.
    Where time left no quorum, but enough members that have not failed, the quorum gives way: those that are there
    count, however many. A member that failed or diverged counts no more than without a budget.
    """
    finished = np.array([[task.key in work.fits for task in plan.of(label)] for label in plan.labels])
    status = np.array([work.status(plan, label) for label in plan.labels])
    broken = np.isin(status, ("failed", "diverged"))
    sound, everywhere = finished & ~broken[:, None], np.ones(finished.shape[1], dtype=bool)
    need = quorum.of(len(plan.labels))
    if quorum.folds is not None:
        enough = coverage(mask_by_fold=finished, need_folds=quorum.folds) & (status != "diverged")
        usual = Attendance(enough, everywhere, need)
    else:
        folds = _shared_folds(plan, sound, need) if work.late else everywhere
        usual = Attendance(np.all(sound[:, folds], axis=1), folds, need)
    enough_members, enough_able = np.count_nonzero(usual.members) >= need, np.count_nonzero(~broken) >= need
    if not work.late or enough_members or not enough_able or not sound.any():
        return usual
    folds = _shared_folds(plan, sound, 1)
    return Attendance(np.all(sound[:, folds], axis=1), folds, need, short=True)


def _shared_folds(plan: Plan, finished: NDArray[np.bool_], need: int) -> NDArray[np.bool_]:
    """The folds (F,) that at least `need` members share, from (M, F), with enough rows if that can be."""
    folds, y = plan.context.folds.folds, plan.context.train.y
    least = min(ENOUGH_ROWS, ENOUGH_OF_ALL * _rows(folds))

    def enough(counting: NDArray[np.bool_]) -> bool:
        chosen = [fold for fold, counts in zip(folds, counting, strict=True) if counts]
        classes = np.unique(np.concatenate([y[fold.valid] for fold in chosen])) if chosen else np.empty(0)
        return len(classes) == plan.context.train.n_classes and _rows(chosen) >= least

    return common_folds(finished=finished, need=need, enough=enough)


def what_was_needed(spec: JobSpec, plan: Plan, work: JobProgress, executor: Executor, budget: Budget) -> str:
    """How much time the quorum, and the first member, would have taken."""
    need = spec.quorum.of(len(plan.labels))
    shares = WorkerShares([Unit((task,)) for task in plan.runs], executor, spec.execution.workers)

    def in_all(seconds: float) -> str:
        return format_duration(max(budget.startup + budget.reserve + seconds, budget.seconds))

    quickest = min(plan.runs, key=work.estimates.least_seconds)
    what = f"an epoch of {quickest.label}" if epochs_of(quickest) else quickest.label
    return (
        f"the budget of {format_duration(budget.seconds)} is too short: a fold of {need} of the {len(plan.labels)} "
        f"members would take about {in_all(seconds_to_quorum(plan, work, need=need, share=shares))} in all, "
        f"and {what}, which is the least for an ensemble, about {in_all(work.estimates.least_seconds(quickest))}; "
        "finished work is kept: start again with a longer budget to continue"
    )


def budget_part(
    budget: Budget, plan: Plan, work: JobProgress, there: Attendance, tested: NDArray[np.bool_]
) -> dict[str, Any]:
    """The leaderboard's `budget`: what was left out or stopped; `tested` (M,) are members that have predicted the test
    rows.

    What the end of the job leaves out is added by `leave_out`.
    """
    folds, tasks = plan.context.folds.folds, {task.key: task for task in plan.tasks}
    late = [(tasks[key], event) for key, event in work.late.items()]
    return {
        "seconds": budget.seconds,
        "used_seconds": round(budget.used(), 1),
        "rows": _rows([fold for fold, counts in zip(folds, there.folds, strict=True) if counts]),
        "of_rows": _rows(folds),
        "folds": int(np.count_nonzero(there.folds)),
        "of_folds": len(folds),
        "below_quorum": {"members": int(np.count_nonzero(there.members)), "needed": there.quorum}
        if there.short
        else None,
        "out_of_time": [
            {"member": task.label, "fold": task.fold + 1, "begun": event.begun, "reason": event.message}
            for task, event in late
        ],
        "stopped_early": [_stopped(fit) for fit in work.fits.values() if not fit.complete],
        "not_counted": list(_not_counted(plan, work, there)),
        "untested": [] if plan.context.test is None else list(_untested(plan, work, tested)),
        "left_out": [],
    }


def with_ending(board: dict[str, Any], ending: ClosingTime) -> dict[str, Any]:
    """The leaderboard with what the end of the job has left out, and with the time that it has used by now."""
    assert ending.budget is not None
    part = {"used_seconds": round(ending.budget.used(), 1), "left_out": list(ending.left_out)}
    return {**board, "budget": {**board["budget"], **part}}


def _stopped(fit: Fit) -> dict[str, Any]:
    losses = [epoch["valid_loss"] for epoch in with_labels(fit.history)]
    return {
        "member": fit.task.label,
        "fold": fit.task.fold + 1,
        "epochs_done": len(fit.history),
        "epochs": epochs_of(fit.task),
        "best_epoch": len(fit.history) - len(losses) + int(np.argmin(losses)) + 1 if losses else None,
    }


def _not_counted(plan: Plan, work: JobProgress, there: Attendance) -> Iterator[dict[str, str]]:
    """Members that time left without a place in the ensemble."""
    for m, label in enumerate(plan.labels):
        if there.members[m] or work.status(plan, label) != "out of time":
            continue
        done = [task for task in plan.of(label) if task.key in work.fits]
        lacking = [task.fold + 1 for task in plan.of(label) if there.folds[task.fold] and task not in done]
        folds = f"fold{'s' if len(lacking) > 1 else ''} {ranges(lacking)}"
        yield {"member": label, "reason": f"which has {len(done)} of {len(there.folds)} folds and lacks {folds}"}


def _untested(plan: Plan, work: JobProgress, tested: NDArray[np.bool_]) -> Iterator[str]:
    """Members that have models for which time left no test predictions."""
    for m, label in enumerate(plan.labels):
        if not tested[m] and any(task.key in work.fits for task in plan.of(label)):
            yield label


def _rows(folds: Sequence[Fold]) -> int:
    return len(np.unique(np.concatenate([fold.valid for fold in folds]))) if folds else 0
