"""Ranking metrics of scores (N,) for two classes: area under the ROC curve, and average precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quorate.ensemble.arrays import Floats, Mask


@dataclass(frozen=True, eq=False)
class RankedWeights:
    """The weight of positive and of negative rows at each distinct score, in each of B samples (B, distinct).

    The highest score comes first.
    """

    positive: Floats
    negative: Floats


def rank(*, score: Floats, positive: Mask, weights: Floats) -> RankedWeights:
    """Rank rows sorted by descending `score` (N,); `weights` (B, N) are their counts in each of B samples."""
    steps = np.diff(score)
    assert (steps <= 0).all(), "rows are sorted once, not for every sample"
    found, others = weights * positive, weights * ~positive
    if (steps == 0).any():
        starts = np.flatnonzero(np.r_[True, steps != 0])
        found, others = (np.add.reduceat(each, starts, axis=1) for each in (found, others))
    return RankedWeights(found, others)


def roc_auc(ranked: RankedWeights) -> Floats:
    """Return the probability (B,) that a positive row scores above a negative one; ties count half.

    NaN for a sample that lacks a class. This is the Mann-Whitney statistic (Hanley and McNeil, 1982).
    """
    positives, negatives = ranked.positive.sum(axis=1), ranked.negative.sum(axis=1)
    worse = negatives[:, None] - ranked.negative.cumsum(axis=1) + ranked.negative / 2
    return _share(np.einsum("bn,bn->b", ranked.positive, worse), positives * negatives)


def average_precision(ranked: RankedWeights) -> Floats:
    """Return the mean (B,) over positive rows of the precision among the rows that score at least as high.

    NaN for a sample without a positive row.
    """
    found = ranked.positive.cumsum(axis=1)
    seen = found + ranked.negative.cumsum(axis=1)
    precision = found / np.maximum(seen, 1e-300)
    return _share(np.einsum("bn,bn->b", ranked.positive, precision), ranked.positive.sum(axis=1))


def _share(part: Floats, whole: Floats) -> Floats:
    known = whole > 0
    shares: Floats = np.where(known, part / np.where(known, whole, 1.0), np.nan)
    return shares
