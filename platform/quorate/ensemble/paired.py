"""Paired difference of two ensembles' losses on the same rows, with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""A difference is significant if it exceeds this number of standard errors: the 97.5 % quantile of the normal
distribution."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of the first loss minus the second, over the rows that both cover."""

    mean: float
    standard_error: float
    """Infinite if all rows belong to one group: the variation between groups is unknown."""
    rows: int


def paired_difference(
    first: NDArray[np.float64], second: NDArray[np.float64], *, groups: NDArray[np.integer] | None = None
) -> Difference:
    """Compare losses (N,) row by row, NaN for a row that is not covered; raises `ValueError` for fewer than two pairs.

    With `groups` (N,) the standard error treats groups, not rows, as independent.
    """
    if first.shape != second.shape:
        raise ValueError(f"the number of losses must be the same, not {first.size} and {second.size}")
    both = ~np.isnan(first) & ~np.isnan(second)
    pairs = (first - second)[both]
    if pairs.size < 2:
        raise ValueError(f"only {pairs.size} rows have a loss in both; at least 2 are required")
    error = standard_error(pairs, groups=None if groups is None else groups[both])
    return Difference(float(pairs.mean()), error, int(pairs.size))


def standard_error(values: NDArray[np.float64], *, groups: NDArray[np.integer] | None = None) -> float:
    """Return the standard error of the mean of `values` (N,); infinite with one value or one group.

    With `groups` (N,) it is the cluster-robust standard error of a mean (Liang and Zeger, 1986): for G groups, the
    deviations from the mean are summed within each group and squared, and the result is the square root of G / (G - 1)
    times the sum of these squares, divided by N. If each row is its own group, this is the usual standard error. With
    few groups, a normal-approximation interval with this standard error is too narrow.
    """
    if groups is None:
        return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else math.inf
    _, place = np.unique(groups, return_inverse=True)
    sums = np.bincount(place, weights=values - values.mean())
    if sums.size < 2:
        return math.inf
    return float(np.sqrt(sums.size / (sums.size - 1) * (sums**2).sum()) / values.size)


def read_losses(path: Path) -> NDArray[np.float64]:
    """Read the cross-fitted out-of-fold log-loss of every row (N,) from a bundle's `losses.npz`."""
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays["loss"], dtype=np.float64)


def read_groups(path: Path) -> NDArray[np.int64] | None:
    """Read the group of each row (N,) from a bundle's `losses.npz`; None if it has no groups."""
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays["groups"], dtype=np.int64) if "groups" in arrays else None
