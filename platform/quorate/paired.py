"""The difference of two ensembles' losses on the same rows, with its standard error."""

from __future__ import annotations

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
    rows: int


def paired_difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
    """Compare losses (N,) row by row, NaN where a row is not covered; raises `ValueError` for fewer than two pairs."""
    if first.shape != second.shape:
        raise ValueError(f"there are losses for {first.size} and for {second.size} rows")
    pairs = (first - second)[~np.isnan(first) & ~np.isnan(second)]
    if pairs.size < 2:
        raise ValueError(f"only {pairs.size} rows are covered by both")
    return Difference(float(pairs.mean()), float(pairs.std(ddof=1) / np.sqrt(pairs.size)), int(pairs.size))


def read_losses(path: Path) -> NDArray[np.float64]:
    """The cross-fitted out-of-fold log-loss of every row (N,), from a bundle's `losses.npz`."""
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays["loss"], dtype=np.float64)
