"""Evaluate probabilities (N, K) against labels (N,) in detail: by class, by confidence and by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.metrics import ECE_BINS, top_class


@dataclass(frozen=True)
class ClassFigures:
    """Metrics of one class; a metric is None if its denominator is zero."""

    precision: float | None
    """Fraction of the rows predicted as this class that belong to it."""
    recall: float | None
    """Fraction of the rows of this class that are predicted as it."""
    f1: float | None
    support: int
    """Number of rows of this class."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Rows in bins of equal width by their confidence; NaN for an empty bin."""

    confidence: Floats
    """Mean probability of the predicted class (bins,)."""
    accuracy: Floats
    counts: NDArray[np.int64]


def by_class(counts: NDArray[np.int64]) -> list[ClassFigures]:
    """Compute the metrics of each class from a confusion matrix (labels, predictions)."""
    right, support, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return [
        ClassFigures(
            precision=_share(right[k], predicted[k]),
            recall=_share(right[k], support[k]),
            f1=_share(2 * right[k], support[k] + predicted[k]),
            support=int(support[k]),
        )
        for k in range(len(counts))
    ]


def reliability(proba: Proba, y: Labels, bins: int = ECE_BINS) -> Reliability:
    """Compute confidence and accuracy in the bins of the expected calibration error."""
    confidence, right, place = top_class(proba, y, bins)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(place, weights=confidence, minlength=bins) / counts
        accuracy = np.bincount(place, weights=right, minlength=bins) / counts
    return Reliability(mean_confidence, accuracy, counts.astype(np.int64))


def confident_mistakes(proba: Proba, y: Labels, most: int) -> NDArray[np.int64]:
    """Return the positions of at most `most` rows with a wrong prediction, the most confident first."""
    wrong = np.flatnonzero(proba.argmax(axis=1) != y)
    confidence = proba[wrong].max(axis=1)
    return wrong[np.argsort(-confidence, kind="stable")[:most]].astype(np.int64)


def _share(part: np.integer, whole: np.integer) -> float | None:
    return float(part / whole) if whole else None
