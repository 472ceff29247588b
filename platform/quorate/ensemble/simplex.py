"""Weights with the lowest log-loss among all weighted means of members."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from quorate.ensemble.arrays import Floats, Labels
from quorate.ensemble.calibrator import true_class_proba

STEPS = 100
"""Maximum number of steps. An assumption, not a measurement."""
GAP = 1e-9
"""The search ends when the loss is at most this number of nats above the optimum, or when the precision of float64 is
reached. An assumption, not a measurement."""
RIDGE = 1e-9
"""Fraction of the mean curvature that is added to the curvature, so that the problem is solvable if members are
identical. An assumption, not a measurement."""


def optimal_weights(*, members: Iterable[Floats], y: Labels) -> Floats:
    """Return the weights (M,), >= 0 with sum 1, with the lowest log-loss for calibrated members, each (N, K).

    The problem is convex: minimize -mean(log(w · p)) over the simplex. This equals minimizing -mean(log(x · p)) +
    sum(x) over x >= 0, because the optimal scale of x gives the sum 1. It is solved by sequential quadratic programming
    (Kim et al. 2020, "A fast algorithm for maximum likelihood estimation of mixture proportions", section 2): each step
    solves the quadratic model by nonnegative least squares, then backtracks. By convexity the loss is within max(u) - 1
    of its optimum, where u is the mean of p / (w · p) for each member.
    """
    true = true_class_proba(members, y)
    weights = np.full(len(true), 1 / len(true))
    for _ in range(STEPS):
        pooled = weights @ true
        scaled = true / pooled
        pull = scaled.mean(axis=1)
        if pull.max() - 1 <= GAP:
            break
        target = _minimum_of_model(scaled @ scaled.T / true.shape[1], 2 * pull - 1)
        step = _backtracked(true, weights, target, decrease=float((pull - 1) @ (target - weights)))
        if step == 0:
            break
        weights = (1 - step) * weights + step * target
        weights /= weights.sum()
    return weights


def _minimum_of_model(curvature: Floats, linear: Floats) -> Floats:
    """Return the z >= 0 that minimizes z' curvature z / 2 - linear' z."""
    ridge = RIDGE * np.trace(curvature) / len(curvature)
    factor = np.linalg.cholesky(curvature + ridge * np.eye(len(curvature)))
    target: Floats = nnls(factor.T, solve_triangular(factor, linear, lower=True))[0]
    return target


def _backtracked(true: Floats, weights: Floats, target: Floats, *, decrease: float) -> float:
    """Return the first step of 1, 1/2, 1/4, … that lowers the loss enough (Armijo), or 0 if there is none."""
    step = 1.0
    start = _loss(true, weights)
    while step > 1e-12:
        if _loss(true, (1 - step) * weights + step * target) <= start - 1e-4 * step * decrease:
            return step
        step /= 2
    return 0.0


def _loss(true: Floats, weights: Floats) -> float:
    with np.errstate(divide="ignore"):  # all-zero weights give an infinite loss, which the search rejects
        return float(weights.sum() - np.log(weights @ true).mean())
