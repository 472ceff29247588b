"""What a job does about its budget: the time kept for its end, the folds that count, and what it left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.data.folds import Fold
from quorate.ensemble.quorum import common_folds
from quorate.ensemble.rehearsal import combining_seconds
from quorate.execution.base import Executor
from quorate.execution.budget import Budget
from quorate.execution.estimates import epochs_of
from quorate.execution.events import OutOfTime
from quorate.fitting import Shares, Work, seconds_to_quorum
from quorate.kinds import COMBINERS
from quorate.plan import Plan, Unit
from quorate.report.budget import ranges, say_time
from quorate.results import Fit
from quorate.spec import JobSpec, QuorumSpec
from quorate.training.curves import with_labels

ENOUGH_ROWS, ENOUGH_OF_ALL = 500, 0.5
"""From so many rows in common on, or from this part of all, a member more is worth more to the ensemble than rows."""

_CLOSING = {"local": 1.5, "ray": 3.0}
"""Seconds to write the run's files and to end the workers and this process."""
_PICTURE = 0.4
"""Seconds to draw one."""
_A_MEMBER = 2
"""The curves of one are as much as so many pictures, and so is the sheet of all."""
_STARTUP = 4.0
"""Seconds in which the command has imported what it needs where the figures above were measured, an idle machine."""
_SLOWEST, _MOST = 4.0, 0.2
"""The figures above are taken to be at most so many times too small, and to need at most this part of the budget."""
_REUSED = 0.02
"""Seconds to pack a fit task of earlier work; what packing the others takes is told by what keeping them took."""
_SAFETY = 1.5
"""Combining may take so much longer than its rehearsal: workers that were given up may still be busy."""


def seconds_after_training(spec: JobSpec, plan: Plan, budget: Budget, *, reused: int, startup: float) -> float:
    """What the job needs once training is over, `reused` fit tasks being there already.

    `startup` are the seconds that this command took to begin: they tell how busy the machine is now.
    """
    members, test = len(plan.labels), plan.context.test
    combining = combining_seconds(
        combiner=COMBINERS.get(spec.combiner.kind)(spec.combiner),
        members=members,
        rows=_rows(plan.context.folds.folds),
        n_classes=plan.context.train.n_classes,
    )
    curves = {task.member for task in plan.tasks if epochs_of(task)}
    pictures = _A_MEMBER * (len(curves) + bool(curves)) + (1 if test is None else 2)
    slow = min(max(startup / _STARTUP, 1.0), _SLOWEST)
    ending = slow * (_CLOSING[spec.execution.executor] + _PICTURE * pictures)
    ending += slow * _train_dev_seconds(plan)
    return _SAFETY * combining + _REUSED * reused + min(ending, _MOST * budget.seconds)


def _train_dev_seconds(plan: Plan) -> float:
    """Of predicting the rows that are set aside in this process: a pass forward is a third of a training pass."""
    if plan.context.train_dev is None:
        return 0.0
    passes = sum(task.cost / (3 * (epochs_of(task) or 1)) for task in plan.tasks)
    return passes * len(plan.context.train_dev) / max(len(plan.context.folds[0].train), 1)


def leave_out_beginnings(plan: Plan, work: Work) -> None:
    """Count folds as out of time where a network got less than half as far as in its furthest one.

    Their predictions would stand beside much better ones under one temperature and weight, and spoil the member. The
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


def counting_folds(plan: Plan, work: Work, quorum: QuorumSpec) -> NDArray[np.bool_]:
    """The folds (F,) on whose rows the members are combined: all, unless the budget left some out.

    Then, where the job does not say how many folds a member needs, those that enough members share. A member that
    failed or diverged counts no more than without a budget.
    """
    folds, y = plan.context.folds.folds, plan.context.train.y
    least = min(ENOUGH_ROWS, ENOUGH_OF_ALL * _rows(folds))
    if not work.late or quorum.folds is not None:
        return np.ones(len(folds), dtype=bool)
    sound = [work.status(plan, label) not in ("failed", "diverged") for label in plan.labels]
    finished = np.array([[task.key in work.fits for task in plan.of(label)] for label in plan.labels])

    def enough(counting: NDArray[np.bool_]) -> bool:
        chosen = [fold for fold, counts in zip(folds, counting, strict=True) if counts]
        classes = np.unique(np.concatenate([y[fold.valid] for fold in chosen])) if chosen else np.empty(0)
        return len(classes) == plan.context.train.n_classes and _rows(chosen) >= least

    need = quorum.of(len(plan.labels))
    return common_folds(finished=finished & np.array(sound)[:, None], need=need, enough=enough)


def what_was_needed(spec: JobSpec, plan: Plan, work: Work, executor: Executor, budget: Budget) -> str:
    """How much time the quorum would have taken."""
    need = spec.quorum.of(len(plan.labels))
    shares = Shares([Unit((task,)) for task in plan.runs], executor, spec.execution.workers)
    missing = seconds_to_quorum(plan, work, need=need, share=shares)
    seconds = max(budget.used() + budget.reserve + missing, budget.seconds)
    return (
        f"the budget of {say_time(budget.seconds)} is too short: a fold of {need} of the {len(plan.labels)} members "
        f"would take about {say_time(seconds)} in all; what is done is kept, and a start with more goes on from there"
    )


def budget_part(
    budget: Budget, plan: Plan, work: Work, counted: Sequence[int], counting: NDArray[np.bool_]
) -> dict[str, Any]:
    """The leaderboard's `budget`: what was left out or stopped. `counted` are the members in the ensemble, `counting`
    (F,) the folds on whose rows they are combined."""
    folds, tasks = plan.context.folds.folds, {task.key: task for task in plan.tasks}
    late = [(tasks[key], event) for key, event in work.late.items()]
    return {
        "seconds": budget.seconds,
        "used_seconds": round(budget.used(), 1),
        "rows": _rows([fold for fold, counts in zip(folds, counting, strict=True) if counts]),
        "of_rows": _rows(folds),
        "out_of_time": [
            {"member": task.label, "fold": task.fold + 1, "begun": event.begun, "reason": event.message}
            for task, event in late
        ],
        "stopped_early": [_stopped(fit) for fit in work.fits.values() if not fit.complete],
        "not_counted": list(_not_counted(plan, work, counted, counting)),
    }


def _stopped(fit: Fit) -> dict[str, Any]:
    losses = [epoch["valid_loss"] for epoch in with_labels(fit.history)]
    return {
        "member": fit.task.label,
        "fold": fit.task.fold + 1,
        "epochs_done": len(fit.history),
        "epochs": epochs_of(fit.task),
        "best_epoch": len(fit.history) - len(losses) + int(np.argmin(losses)) + 1 if losses else None,
    }


def _not_counted(
    plan: Plan, work: Work, counted: Sequence[int], counting: NDArray[np.bool_]
) -> Iterator[dict[str, str]]:
    """Members that time left without a place in the ensemble."""
    for m, label in enumerate(plan.labels):
        if m in counted or work.status(plan, label) != "out of time":
            continue
        done = [task for task in plan.of(label) if task.key in work.fits]
        lacking = [task.fold + 1 for task in plan.of(label) if counting[task.fold] and task not in done]
        folds = f"fold{'s' if len(lacking) > 1 else ''} {ranges(lacking)}"
        yield {"member": label, "reason": f"which has {len(done)} of {len(counting)} folds and lacks {folds}"}


def _rows(folds: Sequence[Fold]) -> int:
    return len(np.unique(np.concatenate([fold.valid for fold in folds]))) if folds else 0
