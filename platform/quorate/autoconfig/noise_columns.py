"""Find columns of mostly distinct numbers without which boosted trees predict better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from quorate.autoconfig.fingerprint import ColumnFacts
from quorate.data.features import Matrix, fit_features
from quorate.data.in_memory import infer_inputs

FEWEST_ROWS, MOST_ROWS = 10_000, 40_000
"""Minimum number of rows for a comparison, and maximum number of rows in it. Assumptions, not measurements."""
MOST_COLUMNS = 3
"""Tables with more such columns are measurements, and no column is tried. An assumption, not a measurement."""
MOST_CLASSES = 5
"""With more classes, no column is tried, because the time grows with their number. An assumption, not a measurement."""
DISTINCT = 0.5
"""Minimum fraction of distinct values of a column that is tried. An assumption, not a measurement."""
ERRORS = 2.0
"""Number of standard errors by which the loss must be lower without a column to leave it out (docs/defaults.md)."""
_FOLDS = 5
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
    found = dict(zip(tried, changes(frame[features].iloc[rows], y[rows], tried), strict=True))
    return tuple(
        replace(column, ignore=_reason(*found[column.name])) if column.name in found else column for column in columns
    )


def _reason(change: float, error: float) -> str:
    if change > -ERRORS * error:
        return ""
    return f"without it, the log-loss of boosted trees on held-out rows is lower by {-change:.4f} ± {error:.4f}"


def changes(frame: pd.DataFrame, y: NDArray[np.int64], tried: Sequence[str]) -> list[tuple[float, float]]:
    """The change of the log-loss on held-out rows without each of these columns of numbers, and its standard error."""
    table = infer_inputs(frame)
    matrix = fit_features(table, standardize="none", encoding="ordinal")
    x = matrix(table)
    numbers = table.signature.names("numeric", "boolean")
    categories = list(range(len(numbers), x.shape[1]))
    whole = _losses(x, y, categories)
    found = []
    for name in tried:
        without = x.copy()
        without[:, numbers.index(name)] = 0
        change = _losses(without, y, categories) - whole
        found.append((float(change.mean()), float(change.std(ddof=1) / np.sqrt(len(change)))))
    return found


def _losses(x: Matrix, y: NDArray[np.int64], categories: list[int]) -> NDArray[np.float64]:
    """The log-loss of each row, by models of the other folds."""
    import lightgbm

    k = int(y.max()) + 1
    options = {**_OPTIONS, **({"objective": "multiclass", "num_class": k} if k > 2 else {"objective": "binary"})}
    losses = np.zeros(len(y))
    for train, held in StratifiedKFold(_FOLDS, shuffle=True, random_state=0).split(x, y):
        rows = lightgbm.Dataset(x[train], y[train], categorical_feature=categories)
        found = np.asarray(lightgbm.train(options, rows, num_boost_round=_ROUNDS).predict(x[held]))
        right = found[np.arange(len(held)), y[held]] if k > 2 else np.where(y[held] == 1, found, 1 - found)
        losses[held] = -np.log(right)
    return losses
