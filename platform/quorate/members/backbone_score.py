"""Score frozen features by their nearest neighbours and by a linear probe, without training the network that made them.

Leave-one-out nearest neighbours choose among many pretrained networks in Mustafa et al., 2020 ("Deep Ensembles for
Low-Data Transfer Learning", section 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from quorate.data.dataset import Rows
from quorate.data.features import Matrix

NEIGHBOURS = 5
"""Neighbours that vote. An assumption, not a measurement."""
PENALTY = 0.01
"""`C` of the probe on scaled features. An assumption, not a measurement."""
FOLDS = 5
_STEPS = 300
"""Maximum number of L-BFGS steps of the probe; its ranking does not need the last digits. An assumption."""
_BLOCK = 64 << 20
"""Bytes of the similarities that are computed at once."""
_KEPT = 64
"""Neighbours that are kept per row, so that those in a part of the rows can be found without comparing again. If fewer
than `NEIGHBOURS` of them are in the part, only these vote."""


@dataclass(frozen=True, eq=False)
class FeatureScores:
    """What the features of one network say about each of N rows."""

    y: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    """The positions of the nearest other rows (N, up to 64), the nearest first; -1 where there are no more."""
    losses: NDArray[np.float64]
    """The log-loss of the probe in nats (N,), from the folds that did not train on the row."""
    hits: NDArray[np.bool_]
    """Whether the probe predicts the class (N,)."""

    def knn_accuracy(self, rows: Rows | None = None) -> float:
        """The leave-one-out accuracy of the nearest neighbours, among `rows` alone if they are given."""
        inside = np.ones(len(self.y), bool)
        if rows is not None:
            inside = np.isin(np.arange(len(self.y)), rows)
        return float(np.mean([self._votes(i, inside) == self.y[i] for i in np.flatnonzero(inside).tolist()]))

    def probe_loss(self, rows: Rows | None = None) -> float:
        """The mean cross-validated log-loss of the probe, over `rows` if they are given."""
        return float(self.losses.mean() if rows is None else self.losses[rows].mean())

    @property
    def probe_accuracy(self) -> float:
        return float(self.hits.mean())

    def _votes(self, row: int, inside: NDArray[np.bool_]) -> int:
        """The class with the most votes; of classes with equally many, that of the nearest neighbour."""
        near = self.neighbours[row]
        near = near[near >= 0]
        classes = self.y[near[inside[near]][:NEIGHBOURS]].tolist()
        return max(classes, key=lambda label: (classes.count(label), -classes.index(label)), default=-1)


def score_features(x: Matrix, y: NDArray[np.int64], *, groups: NDArray[np.int64] | None, seed: int) -> FeatureScores:
    """Score the features `x` (N, width) of rows with classes `y` (N,).

    Rows of the same one of `groups` (N,) are no neighbours, and are in the same fold of the probe. Each class needs two
    rows.
    """
    with threadpool_limits(1):
        near = _neighbours(x, groups)
        proba = _probe(x, y, groups, seed)
    picked = proba[np.arange(len(y)), y]
    return FeatureScores(y, near, -np.log(picked.clip(1e-12)), proba.argmax(1) == y)


def _neighbours(x: Matrix, groups: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The nearest other rows by the cosine (N, up to 64)."""
    count = min(_KEPT, len(x) - 1)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12)
    found = np.empty((len(x), count), np.int64)
    step = max(1, _BLOCK // (4 * len(x)))
    for start in range(0, len(x), step):
        rows = np.arange(start, min(start + step, len(x)))
        alike = unit[rows] @ unit.T
        alike[rows - start, rows] = -np.inf
        if groups is not None:
            alike[groups[rows][:, None] == groups[None, :]] = -np.inf
        best = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        close = np.take_along_axis(alike, best, axis=1)
        order = np.argsort(-close, axis=1, kind="stable")
        best, close = np.take_along_axis(best, order, axis=1), np.take_along_axis(close, order, axis=1)
        found[rows] = np.where(np.isfinite(close), best, -1)
    return found


def _probe(x: Matrix, y: NDArray[np.int64], groups: NDArray[np.int64] | None, seed: int) -> NDArray[np.float64]:
    """The cross-validated probabilities of a logistic regression (N, classes)."""
    proba = np.zeros((len(y), int(y.max()) + 1))
    for train, valid in _folds(y, groups, seed):
        scaler = StandardScaler().fit(x[train])
        probe = LogisticRegression(C=PENALTY, max_iter=_STEPS).fit(scaler.transform(x[train]), y[train])
        proba[np.ix_(valid, probe.classes_)] = probe.predict_proba(scaler.transform(x[valid]))
    return proba


def _folds(y: NDArray[np.int64], groups: NDArray[np.int64] | None, seed: int) -> Iterator[tuple[Rows, Rows]]:
    counts = np.bincount(y)
    folds = max(2, min(FOLDS, int(counts[counts > 0].min())))
    if groups is None:
        yield from StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32).split(y, y)
        return
    folds = min(folds, len(np.unique(groups)))
    yield from StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32).split(y, y, groups)
