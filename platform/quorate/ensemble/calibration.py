"""Temperature scaling of probabilities: one number that makes a classifier less, or more, sure of itself.

Guo et al. 2017, "On calibration of modern neural networks", section 4.2, with log-probabilities as
logits: softmax(log p / T) is the same whether p came from a network, a forest or an average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.metrics import SMALLEST_PROBA

COLDEST, HOTTEST = 0.05, 20.0
WORTH_CHANGING = 1e-10  # nats per row; a smaller gain leaves the temperature at exactly 1
STEPS = 60
CLOSE = 1e-4
"""Of 1 / T: the error after so short a step of Newton's method is of its square."""
MANY_ROWS, SKIP = 20_000, 8
"""Of many rows, every so many tell where to begin."""
BLOCK = 8192


def apply_temperature(*, proba: Proba, temperature: float) -> Floats:
    """softmax(log p / T) of probabilities (N, K); rows sum to 1."""
    logits = log_proba(np.ascontiguousarray(proba.T))  # rows side by side: sums over few classes are fast
    logits /= temperature
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits.T


def fit_temperature(*, proba: Proba, y: Labels) -> float:
    """The T in [0.05, 20] of least log-loss on probabilities (N, K) and labels (N,).

    1.0 where no temperature matters: no rows, uniform rows, or a gain below 1e-10 nats per row.

    The loss is convex in 1 / T: Newton's method finds the root of its slope within a shrinking bracket; a step
    that would leave it goes to the bound first, and halves the bracket, in the logarithm, from then on.
    """
    if len(y) == 0:
        return 1.0
    losses = _Losses.of(proba, y)
    if len(y) >= MANY_ROWS:
        some = losses.every(SKIP)
        start = _minimum(some, 1.0)
        if some(1.0).value - some(start).value > 1e3 * WORTH_CHANGING:
            return 1 / _minimum(losses, start)
    inverse = _minimum(losses, 1.0)
    return 1 / inverse if losses(1.0).value - losses(inverse).value > WORTH_CHANGING else 1.0


def log_proba(proba: Proba) -> Floats:
    """Natural logarithms, float64, of probabilities of any shape, at least log 1e-12."""
    wide = np.maximum(proba, SMALLEST_PROBA, dtype=np.float64)
    return np.log(wide, out=wide)


def softmax(logits: Floats) -> Floats:
    """Softmax of the rows of `logits` (N, K), in place."""
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def normalized_rows(proba: Proba) -> Floats:
    """Float64 rows (N, K) that sum to 1; uniform where a row is all zero."""
    wide = proba.astype(np.float64)
    total = wide.sum(axis=1, keepdims=True)
    wide[total[:, 0] <= 0] = 1.0
    wide /= np.where(total > 0, total, wide.shape[1])
    return wide


@dataclass(frozen=True)
class _Loss:
    """The mean log-loss at one temperature, with its first and second derivative by 1 / T."""

    value: float
    slope: float
    curvature: float


@dataclass(frozen=True, eq=False)
class _Losses:
    """Log-probabilities less the greatest of their row: `gaps` (K, N) of each class, `true` (N,) of the label.

    With the rows side by side the sums over the classes run over whole arrays, in blocks that stay in the cache.
    """

    gaps: Floats
    true: Floats

    @classmethod
    def of(cls, proba: Proba, y: Labels) -> _Losses:
        gaps = log_proba(np.ascontiguousarray(proba.T))
        gaps -= gaps.max(axis=0)
        return cls(gaps, gaps[y, np.arange(len(y))])

    def every(self, step: int) -> _Losses:
        """Those of every so many rows."""
        return _Losses(np.ascontiguousarray(self.gaps[:, ::step]), self.true[::step])

    def __call__(self, inverse: float) -> _Loss:
        sums = np.zeros(3)
        for start in range(0, len(self.true), BLOCK):
            gaps, true = self.gaps[:, start : start + BLOCK], self.true[start : start + BLOCK]
            weights = np.exp(inverse * gaps)
            total = weights.sum(axis=0)
            weights *= gaps
            first = weights.sum(axis=0) / total
            weights *= gaps
            second = weights.sum(axis=0) / total
            sums += np.log(total).sum() - inverse * true.sum(), (first - true).sum(), (second - first**2).sum()
        return _Loss(*(sums / len(self.true)).tolist())


def _minimum(losses: _Losses, inverse: float) -> float:
    """The 1 / T of least loss, searched from `inverse` on."""
    bounds, tried = [1 / HOTTEST, 1 / COLDEST], [False, False]
    for _ in range(STEPS):
        here = losses(inverse)
        if (inverse <= 1 / HOTTEST and here.slope >= 0) or (inverse >= 1 / COLDEST and here.slope <= 0):
            break
        side = int(here.slope > 0)
        bounds[side], tried[side] = inverse, True
        target = inverse - here.slope / here.curvature if here.curvature > 0 else math.copysign(math.inf, -here.slope)
        newton = bounds[0] <= target <= bounds[1]
        if not newton:
            # At a bound that was not looked at is the minimum, or it is on this side of it.
            target = math.sqrt(bounds[0] * bounds[1]) if tried[1 - side] else bounds[1 - side]
        moved, inverse = abs(target - inverse), target
        if moved <= CLOSE * inverse and (newton or tried[1 - side]):
            break
    return inverse
