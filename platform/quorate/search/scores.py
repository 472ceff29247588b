"""The out-of-fold predictions of a trial and its loss, after all folds or the first ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.data.folds import learnable_rows
from quorate.ensemble.objectives import loss
from quorate.members.base import Proba
from quorate.plan.tasks import JobData
from quorate.search.trial import FitEnd
from quorate.spec.search import SearchMetric


@dataclass(frozen=True)
class OofScore:
    """Scores trials on the rows that their folds have predicted, before any calibration, as the leaderboard does."""

    data: JobData
    metric: SearchMetric

    def __call__(self, ends: Mapping[int, FitEnd]) -> tuple[float, Mapping[int, float]]:
        """The loss on the rows of all folds together, and that of each fold."""
        proba, rows = self.predictions(ends)
        y = self.data.train.y
        by_fold = {}
        for fold, end in ends.items():
            assert end.valid is not None
            valid = self.data.folds[fold].valid
            counted = rows[valid]
            by_fold[fold] = loss(self.metric, end.valid[counted], y[valid[counted]])
        return loss(self.metric, proba[rows], y[rows]), by_fold

    def predictions(self, ends: Mapping[int, FitEnd]) -> tuple[Proba, NDArray[np.bool_]]:
        """Probabilities (N, K), and the rows (N,) that count: those that some fold has predicted and could learn.

        With repeats, a row gets the average of its predictions.
        """
        data, folds = self.data.train, [self.data.folds[fold] for fold in ends]
        total, times = np.zeros((len(data), data.n_classes)), np.zeros(len(data), np.int64)
        for fold, end in zip(folds, ends.values(), strict=True):
            assert end.valid is not None
            total[fold.valid] += end.valid
            times[fold.valid] += 1
        rows = (times > 0) & learnable_rows(data.y, folds, weight=data.weight)
        return (total / np.maximum(times, 1)[:, None]).astype(np.float32), rows
