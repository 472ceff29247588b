"""Metrics of probabilities (N, K) against labels (N,): accuracy, losses and calibration error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.arrays import Floats, Labels, Proba

SMALLEST_PROBA = 1e-12
"""Probabilities are clipped to at least this value before the logarithm, so that a loss is at most 27.6 nats. An
assumption, not a measurement."""
ECE_BINS = 15
"""Number of bins of the calibration error, as in Guo et al. (2017, table 1)."""


def accuracy(proba: Proba, y: Labels) -> float:
    """Return the fraction of rows whose most probable class is the label."""
    return float((proba.argmax(axis=1) == y).mean())


def row_nll(proba: Proba, y: Labels) -> Floats:
    """Negative log-likelihood (N,) in nats; rows are renormalized, probabilities clipped at 1e-12."""
    true = _normalized(proba)[np.arange(len(y)), y]
    losses: Floats = -np.log(np.maximum(true, SMALLEST_PROBA))
    return losses


def nll(proba: Proba, y: Labels) -> float:
    """Mean of `row_nll`: the log-loss, in nats."""
    return float(row_nll(proba, y).mean())


def ece(proba: Proba, y: Labels, bins: int = ECE_BINS) -> float:
    """Expected calibration error of the top class over equal-width bins (low, high].

    Guo et al. 2017, "On calibration of modern neural networks", equation 3: the mean over bins of
    |accuracy - confidence|, weighted by each bin's share of the rows.
    """
    confidence, right, bin_of_row = top_class(proba, y, bins)
    gaps = np.bincount(bin_of_row, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(y))


def row_gaps(proba: Proba, y: Labels) -> Floats:
    """Return each row's term of the ECE, in the column of its bin (N, ECE_BINS): correctness (0 or 1) minus
    confidence."""
    confidence, right, bin_of_row = top_class(proba, y, ECE_BINS)
    gaps = np.zeros((len(y), ECE_BINS))
    gaps[np.arange(len(y)), bin_of_row] = right - confidence
    return gaps


def top_class(proba: Proba, y: Labels, bins: int) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """Return for each row (N,) the predicted class's probability, whether it is the label, and its bin (low, high]."""
    normalized = _normalized(proba)
    confidence: Floats = normalized.max(axis=1)
    right = normalized.argmax(axis=1) == y
    inner_edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    return confidence, right, np.digitize(confidence, inner_edges, right=True).astype(np.int64)


def row_brier(proba: Proba, y: Labels) -> Floats:
    """Squared distance of each row to its one-hot label (N,)."""
    difference = _normalized(proba)
    difference[np.arange(len(y)), y] -= 1.0
    distances: Floats = (difference**2).sum(axis=1)
    return distances


def brier(proba: Proba, y: Labels) -> float:
    """Multiclass Brier score (1950), 0 to 2: mean of `row_brier`."""
    return float(row_brier(proba, y).mean())


def confusion_matrix(proba: Proba, y: Labels, n_classes: int) -> NDArray[np.int64]:
    """Counts (n_classes, n_classes): rows are labels, columns predictions."""
    cells = y.astype(np.int64) * n_classes + proba.argmax(axis=1)
    counts = np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)
    return counts.astype(np.int64)


def scores(proba: Proba, y: Labels) -> dict[str, float]:
    """Return the four main metrics: accuracy, nll, ece and brier."""
    return {
        "accuracy": accuracy(proba, y),
        "nll": nll(proba, y),
        "ece": ece(proba, y),
        "brier": brier(proba, y),
    }


F = TypeVar("F", float, float | None)


def rounded(figures: Mapping[str, F]) -> dict[str, F]:
    """Round to six digits, as in leaderboards and manifests; None stays."""
    return {name: value if value is None else round(value, 6) for name, value in figures.items()}


def _normalized(proba: Proba) -> Floats:
    wide = proba.astype(np.float64)
    wide /= wide.sum(axis=1, keepdims=True)
    return wide
