"""Sets of classes that hold the true one as often as asked for, whatever the probabilities are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from quorate.ensemble.arrays import Floats, Labels, Mask, Proba
from quorate.ensemble.calibration import normalized_rows


@dataclass(frozen=True, eq=False)
class Conformal:
    """What the label got of probability, on rows that the ensemble had not seen: `true` (N,) and the labels `y` (N,).

    Sets of the least size on average ("least ambiguous", Sadinle et al. 2019, equations 5 and 8): a class is in when
    its probability is at least as great as the label's was in all but a share of 1 - coverage of those rows.
    Rows that come like those are covered with at least the chosen probability (Vovk et al. 2005; Lei et al. 2018,
    theorem 2.2), by `by_class` for each class of its own.
    """

    true: Floats
    y: Labels

    @classmethod
    def of(cls, *, proba: Proba, y: Labels) -> Conformal:
        """From probabilities (N, K) that are estimates for rows not seen."""
        return cls(normalized_rows(proba)[np.arange(len(y)), y], y)

    def thresholds(self, *, coverage: float, n_classes: int, by_class: bool = False) -> Floats:
        """The least probability (K,) with which each class is in a set; 0, so always in, where rows are too few."""
        if not by_class:
            return np.full(n_classes, _threshold(self.true, coverage))
        return np.array([_threshold(self.true[self.y == k], coverage) for k in range(n_classes)])

    def sets(self, proba: Proba, *, coverage: float, by_class: bool = False) -> Mask:
        """The classes (n, K) in each row's set; none may be, where no class is probable enough."""
        p = normalized_rows(proba)
        members: Mask = p >= self.thresholds(coverage=coverage, n_classes=p.shape[1], by_class=by_class)
        return members

    def reach(self, *, coverage: float, by_class: bool = False) -> tuple[float, float]:
        """Between what the coverage itself lies in 95 of 100 draws of so many rows to set the threshold by.

        With n of them and the k-th greatest as threshold it is Beta(k, n + 1 - k) distributed over the draws (Vovk,
        2012, "Conditional validity of inductive conformal predictors"). By `by_class` of the rarest class.
        """
        rows = int(np.unique(self.y, return_counts=True)[1].min()) if by_class else len(self.true)
        rank = _rank(rows, coverage)
        if rank > rows:
            return 1.0, 1.0
        low, high = stats.beta(rank, rows + 1 - rank).ppf([0.025, 0.975])
        return float(low), float(high)

    def to_arrays(self) -> dict[str, Any]:
        """Every bit: where probabilities are few, as of votes, a threshold rounded up leaves many rows out."""
        return {"true": self.true, "y": self.y.astype(np.int32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Conformal:
        return cls(np.asarray(arrays["true"], np.float64), np.asarray(arrays["y"], np.int64))


def _rank(rows: int, coverage: float) -> int:
    return int(np.ceil((rows + 1) * coverage - 1e-9))


def _threshold(true: Floats, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th greatest probability; 0 where there are fewer rows than that."""
    rank = _rank(len(true), coverage)
    if rank > len(true):
        return 0.0
    return float(np.partition(true, len(true) - rank)[len(true) - rank]) if rank else np.inf
