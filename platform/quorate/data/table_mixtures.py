"""Mixtures of similar rows of a table, the same at every access."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from quorate.data.features import fit_features
from quorate.data.table import Table

NEIGHBOURS = 5
"""Number of nearest rows of which one is mixed with a row. An assumption, not a measurement."""
SWAPPED = 0.2
"""Probability that a value is that of the other row. With 0.5, the student was worse on two of three tables
(docs/production.md)."""
_CANDIDATES = 20_000
"""Maximum number of rows, drawn at random, among which the nearest ones are searched: the search takes time in
proportion to their number."""


@dataclass(frozen=True, eq=False)
class RowMixtures:
    """Mixtures of each row of a table with a similar row.

    Each value of a mixture is, with the probability `SWAPPED`, that of one of the row's `NEIGHBOURS` nearest rows: a
    form of MUNGE (Bucila, Caruana and Niculescu-Mizil, 2006, "Model compression"), which draws numbers between the two
    values instead of one of the values. The rows are close to the data, but nobody knows their labels. The distance is
    that of the standardized numbers and the one-hot categories.
    """

    table: Table
    near: NDArray[np.int64]
    """Positions (n, at most `NEIGHBOURS`) of the nearest other rows of each row."""
    seed: int

    @classmethod
    def of(cls, table: Table, seed: int) -> RowMixtures:
        """Search the nearest rows; there must be at least two rows."""
        matrix = fit_features(table, standardize="feature", encoding="onehot")(table)
        drawn = np.random.default_rng(seed).permutation(len(table))[:_CANDIDATES]
        count = min(NEIGHBOURS + 1, len(drawn))
        with threadpool_limits(1):
            search = NearestNeighbors(n_neighbors=count).fit(matrix[drawn])
            near = drawn[search.kneighbors(matrix, return_distance=False)]
        # the row itself is last, or else the farthest row
        near = np.take_along_axis(near, (near == np.arange(len(table))[:, None]).argsort(axis=1, kind="stable"), axis=1)
        return cls(table, near[:, :-1], seed)

    def view(self, number: int) -> Table:
        """Return one mixture of each row (n,), determined by the seed and `number`."""
        generator, rows = np.random.default_rng((self.seed, number)), np.arange(len(self.table))
        other = self.near[rows, generator.integers(self.near.shape[1], size=len(rows))]
        values = {}
        for name, column in self.table.frame.items():
            swapped = generator.random(len(rows)) < SWAPPED
            values[name] = column.take(np.where(swapped, other, rows)).reset_index(drop=True)
        return Table(pd.DataFrame(values), self.table.signature)
