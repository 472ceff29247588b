"""Find columns of mostly distinct numbers without which boosted trees predict better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import RepeatedKFold

from quorate.autoconfig.fingerprint import ColumnFacts
from quorate.data.features import Matrix, fit_features
from quorate.data.table import Table, infer_signature

FEWEST_ROWS, MOST_ROWS = 10_000, 40_000
"""Minimum number of rows for a comparison, and maximum number of rows in it. Assumptions, not measurements."""
MOST_COLUMNS = 3
"""Tables with more such columns are measurements, and no column is tried. An assumption, not a measurement."""
MOST_CLASSES = 5
"""With more classes, no column is tried, because the time grows with their number. An assumption, not a measurement."""
DISTINCT = 0.5
"""Minimum fraction of distinct values of a column that is tried. An assumption, not a measurement."""
_FOLDS, _REPEATS = 5, 2
_LEAST = 1e-15
"""Smallest probability, so that no loss is infinite."""
_OPTIONS = {
    "learning_rate": 0.05,
    "num_leaves": 15,
    "feature_fraction": 0.5,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
_ROUNDS = 300
"""The first entry of the portfolio, without early stopping: on Adult, it stops after 220 to 400 rounds."""


def leave_out_noise(
    frame: pd.DataFrame, y: NDArray[np.int64], columns: Sequence[ColumnFacts]
) -> tuple[ColumnFacts, ...]:
    """The facts about the columns, with a reason to ignore those without which held-out rows are predicted better.

    `frame` has these columns, and `y` (N,) are the labels.
    """
    features = [column.name for column in columns if not column.ignore]
    tried = [
        column.name
        for column in columns
        if not column.ignore and column.kind == "numeric" and column.distinct >= DISTINCT * len(frame)
    ]
    small = len(frame) < FEWEST_ROWS or len(features) < 2
    if small or y.max() >= MOST_CLASSES or not 0 < len(tried) <= MOST_COLUMNS:
        return tuple(columns)
    rows = np.sort(np.random.default_rng(0).permutation(len(frame))[:MOST_ROWS])
    table = Table.of(frame[features], infer_signature(frame[features], {}))
    reasons = _reasons(table.subset(rows), y[rows], tried)
    return tuple(replace(column, ignore=reasons.get(column.name, column.ignore)) for column in columns)


def _reasons(table: Table, y: NDArray[np.int64], tried: Sequence[str]) -> dict[str, str]:
    """The reasons to ignore some of these columns of numbers, by their names; each one is tried without those before it
    that have a reason."""
    x = fit_features(table, standardize="none", encoding="ordinal")(table)
    numbers = table.signature.names("numeric", "boolean")
    categories = list(range(len(numbers), x.shape[1]))
    losses, reasons = _losses(x, y, categories), dict[str, str]()
    for name in tried:
        without = x.copy()
        without[:, numbers.index(name)] = 0
        others = _losses(without, y, categories)
        change = others - losses
        if change.mean() < 0:
            x, losses = without, others
            lower, error = -change.mean(), change.std(ddof=1) / np.sqrt(len(change))
            what = "without it, the log-loss of boosted trees on held-out rows is lower by"
            reasons[name] = f"{what} {lower:.4f} ± {error:.4f}"
    return reasons


def _losses(x: Matrix, y: NDArray[np.int64], categories: list[int]) -> NDArray[np.float64]:
    """The log-loss of each row, by models of the other folds; the mean over several splits into folds."""
    import lightgbm

    k = int(y.max()) + 1
    options = {**_OPTIONS, **({"objective": "multiclass", "num_class": k} if k > 2 else {"objective": "binary"})}
    losses = np.zeros(len(y))
    for train, held in RepeatedKFold(n_splits=_FOLDS, n_repeats=_REPEATS, random_state=0).split(x):
        rows = lightgbm.Dataset(x[train], y[train], categorical_feature=categories)
        found = np.asarray(lightgbm.train(options, rows, num_boost_round=_ROUNDS).predict(x[held]))
        right = found[np.arange(len(held)), y[held]] if k > 2 else np.where(y[held] == 1, found, 1 - found)
        losses[held] -= np.log(np.maximum(right, _LEAST)) / _REPEATS
    return losses
