"""How well scores (N,) rank rows of two classes: area under the ROC curve, and average precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.arrays import Floats, Mask


def roc_auc(*, score: Floats, positive: Mask, weights: Floats) -> Floats:
    """(B,): the chance that a positive row scores above a negative one, ties counted half.

    `weights` (B, N) count the rows in each of B samples. NaN where a sample lacks a class. This is the
    Mann-Whitney statistic (Hanley and McNeil, 1982).
    """
    above, below = _by_score(score, positive, weights)
    positives, negatives = above.sum(axis=1), below.sum(axis=1)
    worse = negatives[:, None] - below.cumsum(axis=1) + below / 2
    return _share((above * worse).sum(axis=1), positives * negatives)


def average_precision(*, score: Floats, positive: Mask, weights: Floats) -> Floats:
    """(B,): the mean over positive rows of the precision among the rows that score at least as high.

    `weights` as in `roc_auc`; NaN where a sample has no positive row.
    """
    above, below = _by_score(score, positive, weights)
    found = above.cumsum(axis=1)
    precision = found / np.maximum(found + below.cumsum(axis=1), 1e-300)
    return _share((above * precision).sum(axis=1), above.sum(axis=1))


def _by_score(score: Floats, positive: Mask, weights: Floats) -> tuple[Floats, Floats]:
    """The weight of positive and of negative rows at each distinct score (B, distinct), highest score first."""
    order = np.argsort(-score, kind="stable")
    starts = _first_of_each(score[order])
    sorted_weights, is_positive = weights[:, order], positive[order]
    above: Floats = np.add.reduceat(sorted_weights * is_positive, starts, axis=1)
    below: Floats = np.add.reduceat(sorted_weights * ~is_positive, starts, axis=1)
    return above, below


def _first_of_each(ordered: Floats) -> NDArray[np.int64]:
    return np.flatnonzero(np.r_[True, np.diff(ordered) != 0])


def _share(part: Floats, whole: Floats) -> Floats:
    known = whole > 0
    shares: Floats = np.where(known, part / np.where(known, whole, 1.0), np.nan)
    return shares
