"""Objectives of combiners, each as a loss of probabilities (N, K) for labels (N,)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble import metrics
from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.breakdown import by_class
from quorate.ensemble.ranking import rank, roc_auc

Objective = Literal["nll", "brier", "accuracy", "balanced_accuracy", "macro_f1", "auc"]

NAMES: Mapping[Objective, str] = {
    "nll": "NLL",
    "brier": "Brier score",
    "accuracy": "error rate",
    "balanced_accuracy": "balanced error rate",
    "macro_f1": "loss 1 - macro F1",
    "auc": "loss 1 - AUC",
}
"""Names of the losses in messages."""

OF_ROWS: frozenset[Objective] = frozenset({"nll", "brier", "accuracy", "balanced_accuracy"})
"""Objectives that are the mean of a loss per row."""

TIE_BREAK = 1e-4
"""Weight of the log-loss that breaks ties; it is added to objectives that only count correct rows. An assumption, not a
measurement."""


def loss(objective: Objective, proba: Proba, y: Labels) -> float:
    """Return the objective as a loss (lower is better); scores for which higher is better are subtracted from 1."""
    return LOSSES[objective](proba, y)


def search_loss(objective: Objective, proba: Proba, y: Labels) -> float:
    """Return `loss` with a tie-break, for a search among ensembles with many equal losses."""
    found = loss(objective, proba, y)
    return found if objective in ("nll", "brier") else found + TIE_BREAK * metrics.nll(proba, y)


def row_losses(objective: Objective, proba: Proba, y: Labels, parts: Sequence[NDArray[np.intp]]) -> Floats:
    """Return losses whose mean is `loss`: one per row (N,), or one per part in `parts` if the objective has no loss per
    row."""
    match objective:
        case "nll":
            return metrics.row_nll(proba, y)
        case "brier":
            return metrics.row_brier(proba, y)
        case "accuracy":
            return np.asarray(proba.argmax(axis=1) != y, np.float64)
        case "balanced_accuracy":
            counts = np.bincount(y, minlength=proba.shape[1])
            share = len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1))
            return np.asarray(share[y] * (proba.argmax(axis=1) != y), np.float64)
        case _:
            return np.array([loss(objective, proba[rows], y[rows]) for rows in parts])


def balanced_accuracy(proba: Proba, y: Labels) -> float:
    """Mean recall of the classes that have rows (Brodersen et al., 2010)."""
    found = by_class(metrics.confusion_matrix(proba, y, proba.shape[1]))
    return float(np.mean([figures.recall for figures in found if figures.recall is not None]))


def macro_f1(proba: Proba, y: Labels) -> float:
    """Mean F1 of the classes that have rows or predictions; 0 for a class without correct predictions."""
    found = by_class(metrics.confusion_matrix(proba, y, proba.shape[1]))
    return float(np.mean([figures.f1 for figures in found if figures.f1 is not None]))


def macro_auc(proba: Proba, y: Labels) -> float:
    """Mean area under the one-vs-rest ROC curves; for two classes, the area for the second class alone. Classes with no
    rows, or with all rows, are left out; the value is 0.5 if no class remains.
    """
    classes = [1] if proba.shape[1] == 2 else range(proba.shape[1])
    areas = [_auc(proba[:, k].astype(np.float64), y == k) for k in classes]
    known = [area for area in areas if not np.isnan(area)]
    return float(np.mean(known)) if known else 0.5


def _auc(score: Floats, positive: np.ndarray) -> float:
    order = np.argsort(-score, kind="stable")
    found = roc_auc(rank(score=score[order], positive=positive[order], weights=np.ones((1, len(score)))))
    return float(found[0])


LOSSES: Mapping[Objective, Callable[[Proba, Labels], float]] = {
    "nll": metrics.nll,
    "brier": metrics.brier,
    "accuracy": lambda proba, y: 1 - metrics.accuracy(proba, y),
    "balanced_accuracy": lambda proba, y: 1 - balanced_accuracy(proba, y),
    "macro_f1": lambda proba, y: 1 - macro_f1(proba, y),
    "auc": lambda proba, y: 1 - macro_auc(proba, y),
}
