"""The weights of least log-loss among all weighted means of members."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from quorate.ensemble.arrays import Floats, Labels
from quorate.ensemble.calibrator import true_class_proba

STEPS = 100
GAP = 1e-9  # nats above the optimum, at most, where the search ends if float64 lets it come so far
RIDGE = 1e-9  # of the mean curvature: makes members that predict the same no obstacle


def optimal_weights(*, members: Iterable[Floats], y: Labels) -> Floats:
    """Weights (M,), >= 0 and summing to 1, of least log-loss for calibrated members, each (N, K).

    A convex problem: -mean(log(w · p)) over the simplex, which equals -mean(log(x · p)) + sum(x) over
    x >= 0 (scaling x can only help until it sums to 1). Sequential quadratic programming (Kim et al.
    2020, "A fast algorithm for maximum likelihood estimation of mixture proportions", section 2):
    each step solves the quadratic model by nonnegative least squares, then backtracks. By convexity
    the loss is within max(u) - 1 of its optimum, with u the mean of p / (w · p) by member.
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
    """The z >= 0 of least z' curvature z / 2 - linear' z."""
    ridge = RIDGE * np.trace(curvature) / len(curvature)
    factor = np.linalg.cholesky(curvature + ridge * np.eye(len(curvature)))
    target: Floats = nnls(factor.T, solve_triangular(factor, linear, lower=True))[0]
    return target


def _backtracked(true: Floats, weights: Floats, target: Floats, *, decrease: float) -> float:
    """The first step of 1, 1/2, 1/4, … that lowers the loss enough (Armijo), or 0 where none does."""
    step = 1.0
    start = _loss(true, weights)
    while step > 1e-12:
        if _loss(true, (1 - step) * weights + step * target) <= start - 1e-4 * step * decrease:
            return step
        step /= 2
    return 0.0


def _loss(true: Floats, weights: Floats) -> float:
    with np.errstate(divide="ignore"):  # all-zero weights: an infinite loss, refused by the search
        return float(weights.sum() - np.log(weights @ true).mean())
