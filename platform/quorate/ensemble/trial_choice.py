"""Choose trials of a search by their out-of-fold predictions, and estimate what the choice is worth.

The best of many losses on the same rows looks better than it is. So the choice is cross-fitted: each part of the rows
is predicted by what a choice on the other parts would have been.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibrator import calibrated, fit_each
from quorate.ensemble.combination import AS_IT_IS, Combination, single_member
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.crossfit import CROSSFIT_PARTS, crossfitted, parts_of
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.objectives import OF_ROWS, Objective, loss, row_losses, search_loss
from quorate.ensemble.paired import standard_error
from quorate.ensemble.selection import greedy_selection
from quorate.registry import KindParams

Rule = Callable[..., Combination]
"""Fits a combination of a few trials to probabilities (T, N, K) and labels (N,); the others have weight 0."""


@dataclass(frozen=True, eq=False)
class TrialChoice:
    """The chosen trials with their weights (T,), their loss on the rows that chose them, and on rows that did not."""

    combination: Combination
    loss: float
    honest_loss: float
    honest_error: float | None
    """Standard error of `honest_loss`; None for an objective that is no mean over rows."""

    @property
    def chosen(self) -> list[int]:
        """The positions of the chosen trials, those with the largest weights first."""
        weights = self.combination.weights
        return [int(t) for t in np.argsort(-weights, kind="stable") if weights[t] > 0]


def evaluated(
    rule: Rule,
    *,
    proba: Proba,
    y: Labels,
    objective: Objective,
    seed: int,
    dependence: Dependence = INDEPENDENT,
) -> TrialChoice:
    """Apply a rule to all rows, and estimate its loss by cross-fitting; `proba` is (T, N, K)."""
    parts = list(parts_of(y, splits=CROSSFIT_PARTS, seed=seed, dependence=dependence))
    combination = rule(proba=proba, y=y, seed=seed, dependence=dependence)
    estimate = crossfitted(rule, proba=proba, y=y, parts=parts, seed=seed, dependence=dependence)
    error = None
    if objective in OF_ROWS:
        rows = row_losses(objective, estimate, y, [held for _, held in parts])
        error = standard_error(rows, groups=dependence.groups)
    known = error if error is not None and math.isfinite(error) else None
    fitted = loss(objective, combination.apply(proba), y)
    return TrialChoice(combination, fitted, loss(objective, estimate, y), known)


def best_trial(objective: Objective) -> Rule:
    """The trial with the lowest loss, alone and not calibrated."""

    def fit(*, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> Combination:
        best = int(np.argmin(_losses(objective, proba, y)))
        return single_member(member=best, members=len(proba), calibration=AS_IT_IS)

    return fit


def top_trials(number: int, objective: Objective, combiner: Combiner[KindParams]) -> Rule:
    """The trials with the lowest losses, combined as the members of a job."""

    def choose(proba: Proba, y: Labels, seed: int) -> list[int]:
        return sorted(int(t) for t in np.argsort(_losses(objective, proba, y), kind="stable")[:number])

    return _combined(choose, combiner)


def greedy_trials(number: int, objective: Objective, combiner: Combiner[KindParams]) -> Rule:
    """The trials with the largest weights in a greedy selection among all calibrated ones (Caruana et al., 2004),
    combined as the members of a job; those of deep ensembles with different hyperparameters (Wenzel et al., 2020)."""

    def choose(proba: Proba, y: Labels, seed: int) -> list[int]:
        calibrations = fit_each(KindParams(kind="temperature"), proba=proba, y=y)
        members = list(calibrated(calibrations, proba))
        weights = greedy_selection(members=members, y=y, objective=objective, seed=seed)
        order = np.argsort(-weights, kind="stable")[:number]
        return sorted(int(t) for t in order if weights[t] > 0)

    return _combined(choose, combiner)


def _combined(choose: Callable[[Proba, Labels, int], list[int]], combiner: Combiner[KindParams]) -> Rule:
    def fit(*, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> Combination:
        chosen = choose(proba, y, seed)
        combination = combiner.fit_dependent(proba=proba[chosen], y=y, seed=seed, dependence=dependence)
        return combination.among(chosen, len(proba))

    return fit


def _losses(objective: Objective, proba: Proba, y: Labels) -> Floats:
    return np.array([search_loss(objective, one, y) for one in proba])
