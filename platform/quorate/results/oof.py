"""Gather the out-of-fold and test probabilities of all members, and the rows that each of them covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.data.folds import learnable_rows
from quorate.members.base import Proba
from quorate.plan.tasks import Plan
from quorate.results.results import Fit


@dataclass(frozen=True, eq=False)
class OofPredictions:
    """Predictions of M members for N training rows and n test rows.

    - `proba` (M, N, K): out-of-fold probabilities; zero for rows that a member does not cover.
    - `mask` (M, N): whether a member covers a row.
    - `folds` (M, F): whether a member has finished a fold.
    - `test` (M, n, K): the average of each member's fold models; zero for members that are not `tested`.
    - `tested` (M,): whether all fold models of a member have predicted the test rows.
    - `learnable` (N,): whether a row counts in choices. It does not count if no training row of its fold has its class.
    """

    proba: Proba
    mask: NDArray[np.bool_]
    folds: NDArray[np.bool_]
    test: Proba | None
    tested: NDArray[np.bool_]
    learnable: NDArray[np.bool_]


def gather(
    plan: Plan, fits: Mapping[str, Fit], tests: Mapping[str, Proba], *, counting: NDArray[np.bool_] | None = None
) -> OofPredictions:
    """Combine the predictions of each member's folds; the keys of `fits` and `tests` are those of the fit tasks.

    With repeats, a row gets the average of its predictions, and is covered if every repeat has predicted it. Only rows
    of the folds in `counting` (F,) are covered; by default, all folds count.
    """
    data, folds = plan.context.train, plan.context.folds
    shape = (len(plan.labels), len(data), data.n_classes)
    total = np.zeros(shape, np.float64)
    times = np.zeros(shape[:2], np.int64)
    finished = np.zeros((len(plan.labels), len(folds)), bool)
    expected = np.zeros(len(data), np.int64)
    for number, fold in enumerate(folds.folds):
        if counting is None or counting[number]:
            expected[fold.valid] += 1
    rows = len(plan.context.test) if plan.context.test is not None else 0
    test, tested = np.zeros((shape[0], rows, shape[2]), np.float64), np.zeros(shape[0], bool)
    for m, label in enumerate(plan.labels):
        done = [task for task in plan.of(label) if task.key in fits]
        tested[m] = bool(rows and done) and all(task.key in tests for task in done)
        for task in done:
            finished[m, task.fold] = True
            if counting is None or counting[task.fold]:
                valid = folds[task.fold].valid
                total[m, valid] += fits[task.key].valid
                times[m, valid] += 1
            if tested[m]:
                test[m] += tests[task.key] / np.float64(len(done))
    mask = (times == expected) & (expected > 0)
    counted = [fold for number, fold in enumerate(folds.folds) if counting is None or counting[number]]
    learnable = learnable_rows(data.y, counted, weight=data.weight)
    proba = np.where(mask[..., None], total / np.maximum(times, 1)[..., None], 0).astype(np.float32)
    return OofPredictions(proba, mask, finished, test.astype(np.float32) if rows else None, tested, learnable)
