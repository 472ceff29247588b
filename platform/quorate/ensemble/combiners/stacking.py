"""Stacking: a multinomial regression on the members' log-probabilities, kept near their geometric mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibrations.vector import Vector
from quorate.ensemble.choice import simplest_within_one_error
from quorate.ensemble.combination import Candidate, Combination
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.combiners.geometric import Geometric
from quorate.ensemble.crossfit import CROSSFIT_PARTS, crossfitted, parts_of
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.metrics import row_nll
from quorate.ensemble.temperature_scaling import fit_temperature, log_proba, softmax
from quorate.registry import COMBINERS, KindParams

MOST_ROWS = 20_000
"""Maximum number of rows for choosing the penalty, to limit the time; if there are more, a sample is drawn. An
assumption, not a measurement."""


# The strengths of `ridge` are assumptions, not measurements.
class StackingParams(KindParams):
    kind: str = "stacking"

    ridge: tuple[Annotated[float, Field(ge=0)], ...] = Field(default=(3.0, 30.0, 300.0, 3000.0, 30000.0), min_length=1)
    """Candidate strengths of the L2 penalty that keeps the coefficients near those of the calibrated geometric mean,
    relative to the number of rows; cross-validation chooses the strongest within one standard error of the best."""


@COMBINERS.register("stacking")
class Stacking(Combiner[StackingParams]):
    """softmax over k of b_k + sum over m of w_mk log p_mk (Wolpert 1992), with a coefficient per member and class.

    This is a geometric mean of members that are calibrated by vector scaling, so a missing member can be left out as in
    other combiners.
    """

    Params = StackingParams
    simplicity = 9
    pool = staticmethod(Geometric.pool)

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        return self.fit_dependent(proba=proba, y=y, seed=seed, dependence=INDEPENDENT)

    def fit_dependent(self, *, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> Combination:
        ridges = sorted(set(self.params.ridge), reverse=True)
        candidates = self._candidates(ridges, proba, y, seed, dependence) if len(ridges) > 1 else ()
        chosen = next((ridge for ridge, found in zip(ridges, candidates, strict=False) if found.chosen), ridges[0])
        return replace(_fitted(proba, y, chosen), candidates=candidates)

    def _candidates(
        self, ridges: Sequence[float], proba: Proba, y: Labels, seed: int, dependence: Dependence
    ) -> tuple[Candidate, ...]:
        if len(y) > MOST_ROWS:
            rows = np.sort(np.random.default_rng(seed).choice(len(y), MOST_ROWS, replace=False))
            proba, y, dependence = proba[:, rows], y[rows], dependence.take(rows)
        parts = list(parts_of(y, splits=CROSSFIT_PARTS, seed=seed, dependence=dependence))
        losses = []
        for ridge in ridges:

            def fit(*, proba: Proba, y: Labels, seed: int, dependence: Dependence, ridge: float = ridge) -> Combination:
                return _fitted(proba, y, ridge)

            losses.append(row_nll(crossfitted(fit, proba=proba, y=y, parts=parts, seed=seed), y))
        means = [float(rows.mean()) for rows in losses]
        names = [f"ridge {ridge:g}" for ridge in ridges]
        return simplest_within_one_error(names, means, losses, groups=dependence.groups)


def _fitted(proba: Proba, y: Labels, ridge: float) -> Combination:
    """Fit the regression. A class without rows is left out, and its coefficients keep their neutral values."""
    members, classes = len(proba), proba.shape[2]
    inverses = [1 / fit_temperature(proba=member, y=y) for member in proba]
    every, shifts = np.repeat(np.array(inverses)[:, None] / members, classes, axis=1), np.zeros(classes)
    seen, y = np.unique(y, return_inverse=True)
    k, logits = len(seen), np.stack([log_proba(member).take(seen, axis=1) for member in proba])
    problem = _Regression(logits, y, np.r_[every[:, seen].ravel(), np.zeros(k)], ridge)
    found = minimize(
        problem, problem.neutral, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8}
    ).x
    every[:, seen], shifts[seen] = found[: members * k].reshape(members, k), found[members * k :]
    coefficients = every
    sizes = np.abs(coefficients).mean(axis=1)
    weights = sizes / sizes.sum() if sizes.any() else np.full(members, 1 / members)
    slopes = np.divide(coefficients, weights[:, None], out=np.zeros_like(coefficients), where=weights[:, None] > 0)
    vectors = [Vector(slope, np.zeros(classes)) for slope in slopes]
    return Combination("stacking", weights, vectors, Vector(np.ones(classes), shifts))


@dataclass(frozen=True, eq=False)
class _Regression:
    """The convex loss and its gradient; `logits` (M, N, K), parameters (M K + K,)."""

    logits: Floats
    y: NDArray[np.integer]
    neutral: Floats
    ridge: float

    def __call__(self, parameters: Floats) -> tuple[float, Floats]:
        members, rows, k = self.logits.shape
        coefficients, shift = parameters[: members * k].reshape(members, k), parameters[members * k :]
        p = softmax(np.einsum("mnk,mk->nk", self.logits, coefficients) + shift)
        true = p[np.arange(rows), self.y]
        off = parameters - self.neutral
        strength = self.ridge / rows
        value = -np.log(np.maximum(true, 1e-300)).mean() + strength / 2 * off @ off
        p[np.arange(rows), self.y] -= 1
        p /= rows
        gradient = np.r_[np.einsum("nk,mnk->mk", p, self.logits).ravel(), p.sum(axis=0)]
        return float(value), gradient + strength * off
