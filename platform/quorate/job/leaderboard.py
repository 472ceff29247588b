"""Makes the leaderboard of a job from its members, their predictions and the ensemble."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.metrics import rounded, scores
from quorate.job.ensemble import JobEnsemble
from quorate.job.training import JobProgress
from quorate.plan.tasks import Plan
from quorate.results.oof import OofPredictions
from quorate.results.results import Fit
from quorate.spec import JobSpec


def make_board(
    spec: JobSpec,
    plan: Plan,
    work: JobProgress,
    gathered: OofPredictions,
    ensemble: JobEnsemble,
    test: NDArray[np.float64] | None,
) -> dict[str, Any]:
    """The leaderboard as JSON; figures are rounded to six digits.

    Members are scored on the rows that they cover and that count, as they are. The ensemble's out-of-fold figures are
    cross-fitted. `unlearnable` gives the rows that do not count, by class. `predict_ms` are milliseconds per row in
    batches, where the member was fitted. `oof_sha256` is the hash of all members' out-of-fold probabilities by name.
    """
    assembly, combination, names = ensemble.assembly, ensemble.combination, ensemble.names
    trained = [fit for fit in work.fits.values() if not fit.reused]
    tasks = {
        "total": len(plan.tasks),
        "trained": len(trained),
        "reused": len(work.fits) - len(trained),
        "failed": len(work.failures),
    }
    y, target = plan.context.train.y, plan.context.test
    members = []
    for m, label in enumerate(plan.labels):
        covered = gathered.mask[m] & gathered.learnable
        done = [work.fits[task.key] for task in plan.of(label) if task.key in work.fits]
        tested = gathered.test is not None and target is not None and bool(gathered.tested[m])
        members.append(
            {
                "name": label,
                "kind": plan.of(label)[0].kind,
                "status": work.status(plan, label),
                "folds": len(done),
                "of_folds": len(plan.of(label)),
                "weight": round(float(combination.weights[m]), 6),
                "temperature": _number(combination.temperatures[m]),
                "fit_seconds": round(sum(fit.seconds for fit in done), 3),
                "predict_ms": _milliseconds(done),
                "oof": rounded(scores(gathered.proba[m, covered], y[covered])) if covered.any() else None,
                "test": rounded(scores(gathered.test[m], target.y)) if tested else None,  # type: ignore[index, union-attr]
            }
        )
    combined = {
        "combiner": combination.kind,
        "temperature": _number(combination.temperature),
        "oof": rounded(assembly.scores),
        "test": rounded(scores(test, target.y)) if test is not None and target is not None else None,
        "best_single": {
            "name": names[assembly.best_single],
            "oof_nll": _number(assembly.best_single_nll),
            "gain": _number(assembly.gain.mean),
            "error": _number(assembly.gain.standard_error),
        },
        "note": assembly.reason,
        "candidates": [
            {"name": one.name, "loss": _number(one.loss), "error": _number(one.error), "chosen": one.chosen}
            for one in assembly.candidates
        ],
    }
    return {
        "job": spec.name,
        "tasks": tasks,
        "ensemble": combined,
        "members": members,
        "unlearnable": [
            {
                "class": plan.context.train.class_names[one.label],
                "rows": one.rows,
                "folds": [fold + 1 for fold in one.folds],
                "note": one.warning(plan.context.train.class_names[one.label]),
            }
            for one in plan.context.unlearnable
        ],
        "oof_sha256": oof_hash(plan, gathered),
    }


def oof_hash(plan: Plan, gathered: OofPredictions) -> str:
    """SHA-256 over the members in the order of their names, whatever their order in the job file."""
    content = hashlib.sha256()
    for m in np.argsort(plan.labels):
        content.update(plan.labels[m].encode() + b"\0")
        content.update(np.ascontiguousarray(gathered.proba[m]).tobytes())
        content.update(np.ascontiguousarray(gathered.mask[m]).tobytes())
    return content.hexdigest()


def _milliseconds(done: list[Fit]) -> float | None:
    """What a row takes all fold models of a member, one after another; None where one was not measured."""
    each = [fit.predict_ms for fit in done if fit.predict_ms is not None]
    return round(sum(each), 4) if done and len(each) == len(done) else None


def _number(value: float | None) -> float | None:
    """To six digits; None where it is not known, as JSON has no infinity."""
    return round(float(value), 6) if value is not None and math.isfinite(value) else None
