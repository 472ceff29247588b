"""Temperature scaling of probabilities: one number that makes a classifier less, or more, sure of itself.

Guo et al. 2017, "On calibration of modern neural networks", section 4.2, with log-probabilities as
logits: softmax(log p / T) is the same whether p came from a network, a forest or an average.
"""

from __future__ import annotations

import math

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.metrics import SMALLEST_PROBA

COLDEST, HOTTEST = 0.05, 20.0
WORTH_CHANGING = 1e-10  # nats per row; a smaller gain leaves the temperature at exactly 1
STEPS = 60


def apply_temperature(*, proba: Proba, temperature: float) -> Floats:
    """softmax(log p / T) of probabilities (N, K); rows sum to 1."""
    return _softmax(_logits(proba) / temperature)


def true_class_proba(*, proba: Proba, y: Labels, temperatures: Floats) -> Floats:
    """The probability (M, N) that each tempered member of (M, N, K) gives to the label, at least 1e-12.

    It is all that log-loss needs of a member, so a search over weights runs on K times less memory.
    """
    rows = np.arange(len(y))
    true = np.empty(proba.shape[:2])
    for member, temperature in enumerate(temperatures):
        true[member] = apply_temperature(proba=proba[member], temperature=temperature)[rows, y]
    return np.maximum(true, SMALLEST_PROBA, out=true)


def fit_temperature(*, proba: Proba, y: Labels) -> float:
    """The T in [0.05, 20] of least log-loss on probabilities (N, K) and labels (N,).

    1.0 where no temperature matters: no rows, uniform rows, or a gain below 1e-10 nats per row.

    The loss is convex in 1 / T: where it does not fall all the way to a bound, Newton's method finds
    the root of its slope within a shrinking bracket and bisects, in the logarithm, when a step would
    leave it.
    """
    if len(y) == 0:
        return 1.0
    logits = _logits(proba)
    true = logits[np.arange(len(y)), y]
    inverse = _best_inverse(logits, true)
    gain = _loss(logits, true, 1.0) - _loss(logits, true, inverse)
    return 1 / inverse if gain > WORTH_CHANGING else 1.0


def fit_temperatures(*, proba: Proba, y: Labels) -> Floats:
    """`fit_temperature` of each member of (M, N, K), as (M,)."""
    return np.array([fit_temperature(proba=member, y=y) for member in proba])


def _logits(proba: Proba) -> Floats:
    wide = np.maximum(proba, SMALLEST_PROBA, dtype=np.float64)
    return np.log(wide, out=wide)


def _softmax(logits: Floats) -> Floats:
    """Softmax over the rows of `logits`, in place."""
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def _loss(logits: Floats, true: Floats, inverse: float) -> float:
    scaled = logits * inverse
    top = scaled.max(axis=1)
    scaled -= top[:, None]
    return float((np.log(np.exp(scaled).sum(axis=1)) + top - true * inverse).mean())


def _derivatives(logits: Floats, true: Floats, inverse: float) -> tuple[float, float]:
    """First and second derivative of the mean log-loss by 1 / T: the logits' mean error, and variance."""
    weights = _softmax(logits * inverse)
    first = np.einsum("nk,nk->n", weights, logits)
    second = np.einsum("nk,nk,nk->n", weights, logits, logits)
    return float((first - true).mean()), float((second - first**2).mean())


def _best_inverse(logits: Floats, true: Floats) -> float:
    low, high = 1 / HOTTEST, 1 / COLDEST
    if _derivatives(logits, true, low)[0] >= 0:
        return low
    if _derivatives(logits, true, high)[0] <= 0:
        return high
    inverse = 1.0
    for _ in range(STEPS):
        slope, curvature = _derivatives(logits, true, inverse)
        if slope > 0:
            high = inverse
        else:
            low = inverse
        target = inverse - slope / curvature if curvature > 0 else math.inf
        if not low <= target <= high:
            target = math.sqrt(low * high)
        moved, inverse = abs(target - inverse), target
        if moved <= 1e-9 * inverse:
            break
    return inverse
