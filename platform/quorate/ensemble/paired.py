"""The difference of two ensembles' losses on the same rows, with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Z = 1.96
"""Standard errors that a mean difference must exceed to count: two-sided 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean over the rows that both cover of the first one's loss minus the second one's."""

    mean: float
    standard_error: float
    """Infinite where all rows are of one group: nothing says how much another group would differ."""
    rows: int


def paired_difference(
    first: NDArray[np.float64], second: NDArray[np.float64], *, groups: NDArray[np.integer] | None = None
) -> Difference:
    """Compare losses (N,) row by row, NaN where a row is not covered; raises `ValueError` for fewer than two pairs.

    With `groups` (N,) the standard error counts groups, not rows, as independent.
    """
    if first.shape != second.shape:
        raise ValueError(f"there are losses for {first.size} and for {second.size} rows")
    both = ~np.isnan(first) & ~np.isnan(second)
    pairs = (first - second)[both]
    if pairs.size < 2:
        raise ValueError(f"only {pairs.size} rows are covered by both")
    error = standard_error(pairs, groups=None if groups is None else groups[both])
    return Difference(float(pairs.mean()), error, int(pairs.size))


def standard_error(values: NDArray[np.float64], *, groups: NDArray[np.integer] | None = None) -> float:
    """Of the mean of `values` (N,); infinite where there is one value, or one group.

    With `groups` (N,) it is cluster-robust (Liang and Zeger, 1986, for a mean): the root of
    G / (G - 1) times the sum of the G groups' squared sums of deviations, divided by N. Where each row is a group of
    its own, this is the usual standard error. A normal interval of it is too narrow for few groups.
    """
    if groups is None:
        return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else math.inf
    _, place = np.unique(groups, return_inverse=True)
    sums = np.bincount(place, weights=values - values.mean())
    if sums.size < 2:
        return math.inf
    return float(np.sqrt(sums.size / (sums.size - 1) * (sums**2).sum()) / values.size)


def read_losses(path: Path) -> NDArray[np.float64]:
    """The cross-fitted out-of-fold log-loss of every row (N,), from a bundle's `losses.npz`."""
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays["loss"], dtype=np.float64)


def read_groups(path: Path) -> NDArray[np.int64] | None:
    """Which rows (N,) belong together, from a bundle's `losses.npz`; None where nothing says so."""
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays["groups"], dtype=np.int64) if "groups" in arrays else None
