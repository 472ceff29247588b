"""Find the temperature with the lowest log-loss: mathematics that training and ensembles share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.integer[Any]]

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of a fitted temperature. Assumptions, not measurements."""
WORTH_CHANGING = 1e-10
"""Minimum gain in nats per row for a temperature other than exactly 1. An assumption, not a measurement."""
STEPS = 60
"""Maximum number of steps. 60 halvings narrow the bracket to less than the precision of float64."""
CLOSE = 1e-4
"""The search ends when the relative step in 1 / T is below this value. Newton's method converges quadratically, so the
remaining error is of the order of this number squared."""
MANY_ROWS, SKIP = 20_000, 8
"""With at least `MANY_ROWS` rows, only every `SKIP`-th row is used to find the starting point. Assumptions, not
measurements."""
BLOCK = 8192
"""Number of rows in a block. A float64 array of one block and ten classes has 640 KiB, which fits in the cache of a
core. An assumption, not a measurement."""


def best_temperature(logits: Floats, y: Labels) -> float:
    """Return the T in [0.05, 20] with the lowest log-loss of softmax(z / T), for logits z (K, N) and labels (N,).

    Returns 1.0 without rows, or if the gain is below 1e-10 nats per row.

    The loss is convex in 1 / T. Newton's method finds the root of its derivative within a shrinking bracket. The first
    step that would leave the bracket is shortened to its bound; later such steps halve the bracket on a logarithmic
    scale.
    """
    if len(y) == 0:
        return 1.0
    losses = _Losses.of(logits, y)
    if len(y) >= MANY_ROWS:
        some = losses.every(SKIP)
        start = _minimum(some, 1.0)
        if some(1.0).value - some(start).value > 1e3 * WORTH_CHANGING:
            return 1 / _minimum(losses, start)
    inverse = _minimum(losses, 1.0)
    return 1 / inverse if losses(1.0).value - losses(inverse).value > WORTH_CHANGING else 1.0


def scaled_loss(logits: Floats, y: Labels, temperature: float) -> float:
    """Return the mean log-loss in nats of softmax(z / T), for logits z (K, N) and labels (N,)."""
    return _Losses.of(logits, y)(1 / temperature).value


@dataclass(frozen=True)
class _Loss:
    """The mean log-loss at one temperature, with its first and second derivatives with respect to 1 / T."""

    value: float
    slope: float
    curvature: float


@dataclass(frozen=True, eq=False)
class _Losses:
    """Logits minus the maximum of their row: `gaps` (K, N) for each class, `true` (N,) for the label.

    The classes are on the first axis, so the sums over them run over whole arrays, in blocks that fit in the cache.
    """

    gaps: Floats
    true: Floats

    @classmethod
    def of(cls, logits: Floats, y: Labels) -> _Losses:
        gaps = logits - logits.max(axis=0)
        return cls(gaps, gaps[y, np.arange(len(y))])

    def every(self, step: int) -> _Losses:
        """Select every `step`-th row."""
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
    """Find the 1 / T with the lowest loss, starting at `inverse`."""
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
            # The minimum is inside the bracket, or at a bound that was not tried yet.
            target = math.sqrt(bounds[0] * bounds[1]) if tried[1 - side] else bounds[1 - side]
        moved, inverse = abs(target - inverse), target
        if moved <= CLOSE * inverse and (newton or tried[1 - side]):
            break
    return inverse
