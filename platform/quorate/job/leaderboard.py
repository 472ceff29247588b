"""Make the leaderboard of a job from its members, their predictions and the ensemble."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.metrics import rounded, scores
from quorate.job.outcome import JobOutcome
from quorate.plan.tasks import Plan
from quorate.results.oof import OofPredictions
from quorate.results.results import Fit
from quorate.runs.leaderboard import (
    BestSingleMember,
    CombinerCandidate,
    Leaderboard,
    LeaderboardEnsemble,
    LeaderboardMember,
    SplitScores,
    TaskCounts,
    UnlearnableClass,
)


def make_board(outcome: JobOutcome, *, run: str, seconds: float) -> Leaderboard:
    """The leaderboard of the job without its budget; numbers are rounded to six digits.

    `run` is the name of the run folder, and `seconds` the duration of the job. Members are scored before temperature
    and weight, on the rows that they cover and that count. The ensemble's out-of-fold scores are cross-fitted.
    """
    plan = outcome.plan
    return Leaderboard(
        job=outcome.job.spec.name,
        tasks=_tasks(outcome),
        ensemble=_ensemble(outcome),
        members=tuple(_member(outcome, m) for m in range(len(plan.labels))),
        unlearnable=_unlearnable(plan),
        oof_sha256=oof_hash(plan, outcome.gathered),
        run=run,
        seconds=round(seconds, 2),
    )


def split_scores(proba: NDArray[np.floating], y: NDArray[np.int64]) -> SplitScores:
    """The scores of probabilities (n, K) on labels (n,)."""
    return SplitScores(**rounded(scores(proba, y)))


def oof_hash(plan: Plan, gathered: OofPredictions) -> str:
    """SHA-256 of the out-of-fold probabilities; members are sorted by name, so the order in the job file does not
    matter."""
    content = hashlib.sha256()
    for m in np.argsort(plan.labels):
        content.update(plan.labels[m].encode() + b"\0")
        content.update(np.ascontiguousarray(gathered.proba[m]).tobytes())
        content.update(np.ascontiguousarray(gathered.mask[m]).tobytes())
    return content.hexdigest()


def _tasks(outcome: JobOutcome) -> TaskCounts:
    trained = sum(not fit.reused for fit in outcome.work.fits.values())
    return TaskCounts(
        total=len(outcome.plan.tasks),
        trained=trained,
        reused=len(outcome.work.fits) - trained,
        failed=len(outcome.work.failures),
    )


def _member(outcome: JobOutcome, m: int) -> LeaderboardMember:
    """The row of the member at position `m` of the plan."""
    plan, gathered, combination = outcome.plan, outcome.gathered, outcome.ensemble.combination
    label, y, target = plan.labels[m], plan.context.train.y, plan.context.test
    tasks = plan.of(label)
    covered = gathered.mask[m] & gathered.learnable
    done = [outcome.work.fits[task.key] for task in tasks if task.key in outcome.work.fits]
    test = None
    if gathered.test is not None and target is not None and gathered.tested[m]:
        test = split_scores(gathered.test[m], target.y)
    return LeaderboardMember(
        name=label,
        kind=tasks[0].kind,
        status=outcome.work.status(plan, label),
        folds=len(done),
        of_folds=len(tasks),
        weight=round(float(combination.weights[m]), 6),
        temperature=_number(combination.temperatures[m]),
        fit_seconds=round(sum(fit.seconds for fit in done), 3),
        predict_ms=_milliseconds(done),
        oof=split_scores(gathered.proba[m, covered], y[covered]) if covered.any() else None,
        test=test,
    )


def _ensemble(outcome: JobOutcome) -> LeaderboardEnsemble:
    assembly, combination, target = outcome.ensemble.assembly, outcome.ensemble.combination, outcome.plan.context.test
    return LeaderboardEnsemble(
        combiner=combination.kind,
        temperature=_number(combination.temperature),
        oof=SplitScores(**rounded(assembly.scores)),
        test=split_scores(outcome.test, target.y) if outcome.test is not None and target is not None else None,
        best_single=BestSingleMember(
            name=outcome.ensemble.names[assembly.best_single],
            oof_nll=_number(assembly.best_single_nll),
            gain=_number(assembly.gain.mean),
            error=_number(assembly.gain.standard_error),
        ),
        note=assembly.reason,
        candidates=tuple(
            CombinerCandidate(name=one.name, loss=round(one.loss, 6), error=_number(one.error), chosen=one.chosen)
            for one in assembly.candidates
        ),
        production=outcome.production.note or None,
    )


def _unlearnable(plan: Plan) -> tuple[UnlearnableClass, ...]:
    names = plan.context.train.class_names
    return tuple(
        UnlearnableClass(
            class_name=names[one.label],
            rows=one.rows,
            folds=tuple(fold + 1 for fold in one.folds),
            note=one.warning(names[one.label]),
        )
        for one in plan.context.unlearnable
    )


def _milliseconds(done: list[Fit]) -> float | None:
    """Milliseconds per row to predict with all fold models of a member in sequence; None if one was not measured."""
    each = [fit.predict_ms for fit in done if fit.predict_ms is not None]
    return round(sum(each), 4) if done and len(each) == len(done) else None


def _number(value: float | None) -> float | None:
    """The value rounded to six digits; None if it is unknown or infinite, because JSON has no infinity."""
    return round(float(value), 6) if value is not None and math.isfinite(value) else None
