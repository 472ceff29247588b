"""Spend the time budget of a job: the time reserved for its final steps, the folds that count, and what was skipped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
from quorate.job.progress import JobProgress
from quorate.job.training import WorkerShares, seconds_to_quorum
from quorate.plan.tasks import Plan, Resources, Unit
from quorate.registry import COMBINERS
from quorate.report.budget import format_duration, ranges
from quorate.results.results import Fit
from quorate.runs.leaderboard import (
    LateTask,
    Leaderboard,
    LeaderboardBudget,
    QuorumShortfall,
    StoppedTask,
    UncountedMember,
)
from quorate.spec import Job, JobSpec, QuorumSpec
from quorate.training.curves import with_labels

PICTURES, TRAIN_DEV = "pictures", "train_dev"
"""Names, in a leaderboard, of final steps that can be skipped for lack of time."""
ENOUGH_ROWS, ENOUGH_OF_ALL = 500, 0.5
"""Once the members share this number of rows, or this fraction of all rows, another member helps more than more rows.
Assumptions, not measurements."""

_CLOSING = {"local": 1.5, "ray": 5.0}
"""Seconds to send the bundle to MLflow, and to stop the workers and this process. On Adult with 120 s on Ray, sending
took 4 s and stopping 2 s; with 3.0, one of 21 jobs with 120 s ended after 121 s."""
_PICTURE = 0.4
"""Seconds to draw one picture."""
_A_MEMBER = 2
"""Drawing the curves of one member takes as long as this number of pictures, and so does the overview of all curves."""
_STARTUP = {"local": 4.0, "ray": 8.0}
"""Seconds from the start of the command until it is ready to train, without the time to read the data. Measured on the
idle machine on which the constants above were measured."""
_RAY = 9.0
"""Seconds until Ray and its first worker are ready, on the same machine. On a machine with three times as many busy
processes as cores, this took 19 s, after a startup of 9 s."""
_SLOWEST, _MOST = 4.0, 0.25
"""Maximum slowdown that is assumed for the constants above, and maximum fraction of the budget that is reserved for
closing the run. Assumptions, not measurements."""
_FOR_PICTURES = 0.04
"""Maximum fraction of the budget that is reserved for plots (an assumption)."""
_REUSED = 0.02
"""Seconds to pack a reused fit task into the bundle. For new fit tasks, the estimate is the time that storing them
took."""
SAFETY = 1.5
"""Combining can take this many times as long as its rehearsal, because abandoned workers can still be busy (an
assumption)."""


@dataclass
class ClosingTime:
    """Decides which final steps of a job there is time for, and records those that were skipped. Without a budget, none
    is skipped.

    `slow` is the slowdown compared with the machine on which the constants above were measured. `closing` is the number
    of seconds that the command needs after its last step.
    """

    budget: Budget | None = None
    slow: float = 1.0
    closing: float = 0.0
    left_out: list[str] = field(default_factory=list)

    def measure(self, executor: str, startup: float) -> None:
        """Estimate how busy the machine is, from the number of seconds from the start of the command until it was ready
        to train."""
        if self.budget is not None:
            self.slow = min(max(startup / _STARTUP[executor], 1.0), _SLOWEST)
            self.closing = min(self.slow * _CLOSING[executor], _MOST * self.budget.seconds)

    def is_too_short_for_ray(self, workers: int) -> bool:
        """Whether this process alone offers more training time than `workers` workers that first have to wait for
        Ray."""
        starting = self.slow * _RAY
        return workers * (self.left() - starting) < self.left()

    def left(self) -> float:
        """Number of seconds that can still be spent."""
        return math.inf if self.budget is None else self.budget.left() - self.closing

    def has_time_for(self, what: str, seconds: float) -> bool:
        """Whether there is time for `what`, which takes `seconds` on an idle machine; if not, record it as skipped."""
        if self.slow * seconds <= self.left():
            return True
        if what not in self.left_out:
            self.left_out.append(what)
        return False

    def pictures(self, drawn: Iterator[Path]) -> Iterator[Path]:
        """Draw pictures while there is time."""
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
    """Open the executor of the job. With a budget, Ray is not used if starting it would take too much of the time.

    `opening` is the number of seconds that searches and reading the data took. It does not show how busy the machine
    is. The time that the job needs after training is reserved in the budget.
    """
    budget, spec = closing.budget, job.spec
    closing.measure("local", (budget.used() if budget is not None else 0.0) - opening)
    if not any(task.resources.workers[0] > 1 for task in plan.runs):
        avoid_slow_start(place, closing, workers(plan, place.slots, spec), say)
    executor = place.executor()
    if budget is not None:
        closing.measure(executor.name, budget.used() - opening)
        budget.reserve = seconds_after_training(spec, plan, budget, closing, reused=len(work.fits))
        budget.startup = budget.used()
    return executor


def avoid_slow_start(place: Workplace, closing: ClosingTime, workers: int, say: Callable[[str], None]) -> None:
    """Run the job in this process if starting Ray on this machine takes more time than its `workers` save."""
    if place.starts_ray and closing.is_too_short_for_ray(workers):
        say("starting Ray would take more time than it saves, so the job runs in this process, without Ray")
        place.stay_in_this_process()


def seconds_after_training(spec: JobSpec, plan: Plan, budget: Budget, closing: ClosingTime, *, reused: int) -> float:
    """Number of seconds that the job needs after training; `reused` is the number of reused fit tasks."""
    members, test = len(plan.labels), plan.context.test
    combining = combining_seconds(
        combiner=COMBINERS.get(spec.combiner.kind)(spec.combiner),
        members=members,
        rows=_rows(plan.context.folds.folds),
        n_classes=plan.context.train.n_classes,
    )
    curves = {task.member for task in plan.tasks if epochs_of(task)}
    pictures = _A_MEMBER * (len(curves) + bool(curves)) + (1 if test is None else 2)
    drawing = min(closing.slow * _PICTURE * pictures, _FOR_PICTURES * budget.seconds)
    aside = closing.slow * train_dev_seconds(plan)
    rest = min(closing.closing + drawing + aside, _MOST * budget.seconds)
    return SAFETY * combining + _REUSED * reused + rest


def workers(plan: Plan, slots: Callable[[Resources], int], spec: JobSpec) -> int:
    """Maximum number of fit tasks that run at the same time; a job that grows has more tasks than its plan."""
    room = [slots(task.resources) for task in plan.runs]
    limits = [spec.execution.workers, None if spec.grow else len(plan.runs)]
    return min([*room, *(limit for limit in limits if limit is not None)])


def train_dev_seconds(plan: Plan) -> float:
    """Seconds to predict the train-dev rows in this process: a forward pass takes a third of a training pass."""
    if plan.context.train_dev is None:
        return 0.0
    passes = sum(task.cost / (3 * (epochs_of(task) or 1)) for task in plan.tasks)
    return passes * len(plan.context.train_dev) / max(len(plan.context.folds[0].train), 1)


def leave_out_beginnings(plan: Plan, work: JobProgress) -> None:
    """Count a fold as out of time if its network was trained for less than half of the epochs of the longest-trained
    fold of any copy of its member.

    Such a fold would share one temperature and weight with much better predictions, and would make the member worse;
    such a copy would make a mean of all copies worse. The checkpoint is kept.
    """
    for member in dict.fromkeys(task.member for task in plan.tasks):
        tasks = [task for task in plan.tasks if task.member == member and task.key in work.fits]
        done = {task: _trained(work.fits[task.key]) for task in tasks}
        for task, part in done.items():
            if part < max(done.values()) / 2:
                message = f"it was stopped after {len(work.fits[task.key].history)} of {epochs_of(task)} epochs"
                work.late[task.key] = OutOfTime(task, True, message)
                del work.fits[task.key]


def _trained(fit: Fit) -> float:
    """The fraction of its epochs that a fit task has completed."""
    return 1.0 if fit.complete else len(fit.history) / (epochs_of(fit.task) or 1)


@dataclass(frozen=True)
class Attendance:
    """The `members` (M,) that form the ensemble, and the `folds` (F,) on whose rows they are combined."""

    members: NDArray[np.bool_]
    folds: NDArray[np.bool_]
    quorum: int
    """Number of members that the job requires."""
    short: bool = False
    """Whether the quorum is missed only because of the budget, not because of failures."""


def turnout(plan: Plan, work: JobProgress, quorum: QuorumSpec) -> Attendance:
    """Decide which members and folds form the ensemble.

    Usually, all folds are used, and the members are those that have finished all of them, or the number of folds that
    the job requires. If the job sets no such number and the budget skipped tasks, the folds are those that enough
    members have finished, and the members are those that have finished them. If the members then miss the quorum only
    for lack of time, the quorum is ignored. Members that failed or diverged are treated as without a budget.
    """
    finished = np.array([[task.key in work.fits for task in plan.of(label)] for label in plan.labels])
    status = np.array([work.status(plan, label) for label in plan.labels])
    broken = np.isin(status, ("failed", "failed: memory", "diverged"))
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
    """The folds (F,) that at least `need` members have finished, with enough rows if possible; `finished` is (M, F)."""
    folds, y = plan.context.folds.folds, plan.context.train.y
    least = min(ENOUGH_ROWS, ENOUGH_OF_ALL * _rows(folds))

    def enough(counting: NDArray[np.bool_]) -> bool:
        chosen = [fold for fold, counts in zip(folds, counting, strict=True) if counts]
        classes = np.unique(np.concatenate([y[fold.valid] for fold in chosen])) if chosen else np.empty(0)
        return len(classes) == plan.context.train.n_classes and _rows(chosen) >= least

    return common_folds(finished=finished, need=need, enough=enough)


def what_was_needed(spec: JobSpec, plan: Plan, work: JobProgress, executor: Executor, budget: Budget) -> str:
    """Describe how much time the quorum and the smallest ensemble would have taken."""
    need = spec.quorum.of(len(plan.labels))
    shares = WorkerShares([Unit((task,)) for task in plan.runs], executor, spec.execution.workers)

    def in_all(seconds: float) -> str:
        return format_duration(max(budget.startup + budget.reserve + seconds, budget.seconds))

    quickest = min(plan.runs, key=work.estimates.least_seconds)
    what = f"an epoch of {quickest.label}" if epochs_of(quickest) else quickest.label
    for_quorum = in_all(seconds_to_quorum(plan, work, need=need, share=shares))
    return (
        f"the budget of {format_duration(budget.seconds)} is too short: the quorum (one fold of {need} of the "
        f"{len(plan.labels)} members) needs about {for_quorum}, and the smallest ensemble ({what}) about "
        f"{in_all(work.estimates.least_seconds(quickest))}; finished work is kept, so start the job again with a "
        "longer budget to continue"
    )


def budget_part(
    budget: Budget, plan: Plan, work: JobProgress, there: Attendance, tested: NDArray[np.bool_]
) -> LeaderboardBudget:
    """The `budget` of a leaderboard: the tasks that were skipped or stopped.

    `tested` (M,) are the members that have predicted the test rows. `with_closing` adds the final steps that were
    skipped.
    """
    folds, tasks = plan.context.folds.folds, {task.key: task for task in plan.tasks}
    late = [(tasks[key], event) for key, event in work.late.items()]
    members = int(np.count_nonzero(there.members))
    return LeaderboardBudget(
        seconds=budget.seconds,
        used_seconds=round(budget.used(), 1),
        rows=_rows([fold for fold, counts in zip(folds, there.folds, strict=True) if counts]),
        of_rows=_rows(folds),
        folds=int(np.count_nonzero(there.folds)),
        of_folds=len(folds),
        below_quorum=QuorumShortfall(members=members, needed=there.quorum) if there.short else None,
        out_of_time=tuple(
            LateTask(member=task.label, fold=task.fold + 1, begun=event.begun, reason=event.message)
            for task, event in late
        ),
        stopped_early=tuple(_stopped(fit) for fit in work.fits.values() if not fit.complete),
        not_counted=tuple(_not_counted(plan, work, there)),
        untested=() if plan.context.test is None else tuple(_untested(plan, work, tested)),
        left_out=(),
    )


def with_closing(board: Leaderboard, closing: ClosingTime) -> Leaderboard:
    """The leaderboard with the final steps that were skipped for lack of time, and with the time used so far."""
    assert closing.budget is not None
    return board.with_closing(used_seconds=round(closing.budget.used(), 1), left_out=tuple(closing.left_out))


def _stopped(fit: Fit) -> StoppedTask:
    losses = [epoch["valid_loss"] for epoch in with_labels(fit.history)]
    return StoppedTask(
        member=fit.task.label,
        fold=fit.task.fold + 1,
        epochs_done=len(fit.history),
        epochs=epochs_of(fit.task),
        best_epoch=len(fit.history) - len(losses) + int(np.argmin(losses)) + 1 if losses else None,
    )


def _not_counted(plan: Plan, work: JobProgress, there: Attendance) -> Iterator[UncountedMember]:
    """Members that are not in the ensemble for lack of time."""
    for m, label in enumerate(plan.labels):
        if there.members[m] or work.status(plan, label) != "out of time":
            continue
        done = [task for task in plan.of(label) if task.key in work.fits]
        lacking = [task.fold + 1 for task in plan.of(label) if there.folds[task.fold] and task not in done]
        folds = f"fold{'s' if len(lacking) > 1 else ''} {ranges(lacking)}"
        yield UncountedMember(
            member=label, reason=f"which has {len(done)} of {len(there.folds)} folds (missing: {folds})"
        )


def _untested(plan: Plan, work: JobProgress, tested: NDArray[np.bool_]) -> Iterator[str]:
    """Members with models for which there was no time to predict the test rows."""
    for m, label in enumerate(plan.labels):
        if not tested[m] and any(task.key in work.fits for task in plan.of(label)):
            yield label


def _rows(folds: Sequence[Fold]) -> int:
    return len(np.unique(np.concatenate([fold.valid for fold in folds]))) if folds else 0
