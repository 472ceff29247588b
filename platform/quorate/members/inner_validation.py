"""Choose a parameter of a member by the log-loss on held-out parts of the fold's training rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from quorate.data.dataset import Dataset
from quorate.data.features import Matrix
from quorate.data.folds import Fold, FoldsError
from quorate.data.splitting import latest_rows
from quorate.data.weighting import Weights, balanced_rows

FOLDS = 3
"""Number of inner folds; with at least `MANY_ROWS` rows, only the first of them is used. Assumptions, not
measurements."""
MANY_ROWS = 5_000
_SMALLEST = 1e-12
"""Smallest probability whose logarithm is taken, as for the metrics of the ensemble."""


@dataclass(frozen=True)
class LabelledRows:
    """Features (n, width), labels (n,), and weights (n,) or None."""

    x: Matrix
    y: NDArray[np.int64]
    weight: Weights | None

    def fit(self, estimator: Any) -> Any:
        """Fit a scikit-learn estimator to these rows."""
        return estimator.fit(self.x, self.y, **({} if self.weight is None else {"sample_weight": self.weight}))


@dataclass(frozen=True)
class InnerSplit:
    """Rows to fit on, and held-out rows of the same classes."""

    fit: LabelledRows
    held: LabelledRows


def inner_splits(
    x: Matrix, train: Dataset, *, weight: Weights | None, seed: int, balanced: bool = False
) -> tuple[InnerSplit, ...]:
    """Split the training rows with features `x` into rows to fit on and held-out rows.

    The folds are stratified by class. With groups, no group is on both sides; with times, the held-out rows are the
    latest third. `balanced` draws the rows of each side anew with the same number per class. Held-out rows of classes
    that are not fitted on are left out. There may be no split, if no class has enough rows.
    """
    found = []
    for number, fold in enumerate(_folds(train, seed)):
        held = fold.valid[np.isin(train.y[fold.valid], train.y[fold.train])]
        if not len(held) or (train.y[fold.train] == train.y[fold.train[0]]).all():
            continue
        sides = [fold.train, held]
        if balanced:
            sides = [rows[balanced_rows(train.y[rows], seed=seed + number)] for rows in sides]
        found.append(
            InnerSplit(
                *(LabelledRows(x[rows], train.y[rows], None if weight is None else weight[rows]) for rows in sides)
            )
        )
    return tuple(found)


def _folds(train: Dataset, seed: int) -> Iterator[Fold]:
    """Yield at most `FOLDS` folds."""
    y, count = train.y, FOLDS
    if train.time is not None:
        try:
            yield Fold(*latest_rows(train.time, 1 / FOLDS))
        except FoldsError:  # all times are equal
            return
        return
    if train.groups is not None:
        count = min(count, len(np.unique(train.groups)))
    if count < 2 or np.bincount(y).max() < count:
        return
    splitter: Any = StratifiedKFold if train.groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class has fewer rows than folds
        pairs = splitter(count, shuffle=True, random_state=seed % 2**32).split(np.zeros(len(y)), y, train.groups)
        for number, (rows, held) in enumerate(pairs):
            if number == 0 or len(y) < MANY_ROWS:
                yield Fold(rows, held)


def mean_loss(losses: Iterable[NDArray[np.float64]]) -> float:
    """Return the mean of the losses per row of several splits."""
    return float(np.concatenate(list(losses)).mean())


def held_out_losses(
    proba: NDArray[np.floating[Any]], classes: NDArray[np.int64], held: LabelledRows, *, tempered: bool = False
) -> NDArray[np.float64]:
    """Return the weighted log-loss (n,) of probabilities (n, K) of these `classes` on each held-out row.

    With `tempered`, the temperature with the lowest loss on these rows is applied first: for estimators whose
    confidence says little, because the ensemble calibrates its members.
    """
    logits = np.log(np.maximum(proba, _SMALLEST, dtype=np.float64))
    return losses_of(logits, np.searchsorted(classes, held.y), held.weight, tempered=tempered)


def losses_of(
    logits: NDArray[np.float64], y: NDArray[np.integer[Any]], weight: Weights | None, *, tempered: bool
) -> NDArray[np.float64]:
    """Return the weighted log-loss (n,) of the softmax of `logits` (n, K), if `tempered` at the best temperature."""
    gaps = logits - logits.max(axis=1, keepdims=True)
    true = gaps[np.arange(len(y)), y]
    weights = np.ones(len(y)) if weight is None else weight / weight.mean(dtype=np.float64)

    def losses(log_inverse: float) -> NDArray[np.float64]:
        inverse = np.exp(log_inverse)
        found: NDArray[np.float64] = weights * (np.log(np.exp(inverse * gaps).sum(axis=1)) - inverse * true)
        return found

    if not tempered:
        return losses(0.0)
    bounds = (-np.log(20.0), np.log(20.0))  # the range of the temperatures of the ensemble
    best = minimize_scalar(lambda value: losses(value).mean(), bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return losses(float(best.x))
