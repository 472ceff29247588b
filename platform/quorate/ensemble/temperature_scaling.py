"""Temperature scaling of probabilities: one number that lowers or raises a classifier's confidence.

Guo et al. 2017, "On calibration of modern neural networks", section 4.2, with log-probabilities as logits: softmax(log
p / T) is the same whether p came from a network, a forest or an average.
"""

from __future__ import annotations

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.metrics import SMALLEST_PROBA
from quorate.temperature import best_temperature


def apply_temperature(*, proba: Proba, temperature: float) -> Floats:
    """softmax(log p / T) of probabilities (N, K); rows sum to 1."""
    logits = log_proba(np.ascontiguousarray(proba.T))  # contiguous rows per class: sums over few classes are fast
    logits /= temperature
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits.T


def fit_temperature(*, proba: Proba, y: Labels) -> float:
    """Return the T in [0.05, 20] with the lowest log-loss on probabilities (N, K) and labels (N,).

    Returns 1.0 if a temperature makes no difference: without rows, for uniform rows, or if the gain is below 1e-10 nats
    per row.
    """
    return best_temperature(log_proba(np.ascontiguousarray(proba.T)), y)


def log_proba(proba: Proba) -> Floats:
    """Return the natural logarithms, in float64, of probabilities of any shape, clipped at 1e-12."""
    wide = np.maximum(proba, SMALLEST_PROBA, dtype=np.float64)
    return np.log(wide, out=wide)


def softmax(logits: Floats) -> Floats:
    """Compute the softmax of the rows of `logits` (N, K) in place."""
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def normalized_rows(proba: Proba) -> Floats:
    """Return float64 rows (N, K) that sum to 1; a row of zeros becomes uniform."""
    wide = proba.astype(np.float64)
    total = wide.sum(axis=1, keepdims=True)
    wide[total[:, 0] <= 0] = 1.0
    wide /= np.where(total > 0, total, wide.shape[1])
    return wide
