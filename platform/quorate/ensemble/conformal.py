"""Conformal prediction: sets of classes that contain the true class with a chosen frequency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from quorate.ensemble.arrays import Floats, Labels, Mask, Proba
from quorate.ensemble.temperature_scaling import normalized_rows


@dataclass(frozen=True, eq=False)
class Conformal:
    """The calibration data of conformal sets: labels `y` (N,) and their predicted probabilities `true` (N,), on rows
    that the ensemble was not fitted on.

    The sets have the smallest average size ("least ambiguous", Sadinle et al. 2019, equations 5 and 8). A class is in
    the set if its probability reaches a threshold. The threshold is chosen so that the label's probability reaches it
    in about a fraction `coverage` of the calibration rows. For new rows from the same distribution the set contains the
    label with at least the chosen probability (Vovk et al. 2005; Lei et al. 2018, theorem 2.2). `by_class` guarantees
    this for each class separately.
    """

    true: Floats
    y: Labels

    @classmethod
    def of(cls, *, proba: Proba, y: Labels) -> Conformal:
        """Create it from probabilities (N, K) estimated for rows that the ensemble was not fitted on."""
        return cls(normalized_rows(proba)[np.arange(len(y)), y], y)

    def thresholds(self, *, coverage: float, n_classes: int, by_class: bool = False) -> Floats:
        """Return the threshold (K,) that each class's probability must reach to be in a set. With too few rows it is 0,
        so that the class is always in the set."""
        if not by_class:
            return np.full(n_classes, _threshold(self.true, coverage))
        return np.array([_threshold(self.true[self.y == k], coverage) for k in range(n_classes)])

    def sets(self, proba: Proba, *, coverage: float, by_class: bool = False) -> Mask:
        """Return the classes (n, K) in each row's set. A set is empty if no class is probable enough."""
        p = normalized_rows(proba)
        members: Mask = p >= self.thresholds(coverage=coverage, n_classes=p.shape[1], by_class=by_class)
        return members

    def coverage_range(self, *, coverage: float, by_class: bool = False) -> tuple[float, float]:
        """Return the range of the actual coverage in the central 95 % of random draws of the calibration rows.

        With n rows and the k-th greatest probability as the threshold, the coverage has the distribution Beta(k, n + 1
        - k) over the draws (Vovk, 2012, "Conditional validity of inductive conformal predictors"). With `by_class`, the
        range is that of the rarest class.
        """
        rows = int(np.unique(self.y, return_counts=True)[1].min()) if by_class else len(self.true)
        rank = _rank(rows, coverage)
        if rank > rows:
            return 1.0, 1.0
        low, high = stats.beta(rank, rows + 1 - rank).ppf([0.025, 0.975])
        return float(low), float(high)

    def to_arrays(self) -> dict[str, Any]:
        """Return the exact values. With few distinct probabilities, as for votes, a rounded threshold could exclude
        many rows."""
        return {"true": self.true, "y": self.y.astype(np.int32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Conformal:
        return cls(np.asarray(arrays["true"], np.float64), np.asarray(arrays["y"], np.int64))


def _rank(rows: int, coverage: float) -> int:
    return int(np.ceil((rows + 1) * coverage - 1e-9))


def _threshold(true: Floats, coverage: float) -> float:
    """Return the ceil((n + 1) coverage)-th greatest probability; 0 if there are fewer rows."""
    rank = _rank(len(true), coverage)
    if rank > len(true):
        return 0.0
    return float(np.partition(true, len(true) - rank)[len(true) - rank]) if rank else np.inf
