"""Which rows train and which validate: stratified k-fold, repeated, holdout, and the rule that chooses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, train_test_split

from quorate.data.dataset import Rows
from quorate.spec import ValidationSpec


@dataclass(frozen=True)
class Fold:
    """Positions of the rows that one fit task trains on and validates on, both sorted."""

    train: Rows
    valid: Rows


@dataclass(frozen=True)
class Folds:
    """All folds of a job and the rule that they came from."""

    folds: tuple[Fold, ...]
    reason: str

    def __len__(self) -> int:
        return len(self.folds)

    def __getitem__(self, i: int) -> Fold:
        return self.folds[i]


def make_folds(y: NDArray[np.int64], spec: ValidationSpec, seed: int) -> Folds:
    """Stratified folds for labels `y` (N,), the same for the same seed.

    Raises `ValueError` where the rarest class has fewer rows than there are folds.
    """
    counts = np.bincount(y)
    counts = counts[counts > 0]
    rarest = int(counts.min())
    if len(counts) < 2:
        raise ValueError("all training rows are of one class; a classifier needs two or more")
    scheme, why = spec.scheme, ""
    if scheme == "auto":
        scheme = "kfold" if len(y) < spec.auto_rows else "holdout"
        why = f" (auto: {len(y):,} training rows, {'below' if scheme == 'kfold' else 'at or above'} {spec.auto_rows:,})"
    state = np.random.RandomState(seed % 2**32)
    if scheme == "holdout":
        if rarest < 2:
            raise ValueError("the rarest class has one row; a stratified holdout needs two of each class")
        try:
            train, valid = train_test_split(np.arange(len(y)), test_size=spec.fraction, stratify=y, random_state=state)
        except ValueError as error:
            raise ValueError(f"cannot hold out {spec.fraction:g} of {len(y)} rows: {error}") from None
        return Folds(
            (Fold(np.sort(train), np.sort(valid)),),
            f"one stratified holdout fold of {spec.fraction:.0%}{why}",
        )
    if rarest < spec.folds:
        raise ValueError(
            f"{spec.folds} folds, but the rarest class has {rarest} rows; set validation.folds to {rarest} or less"
            if rarest >= 2
            else f"{spec.folds} folds, but the rarest class has one row; add rows of it or remove the class"
        )
    folds = []
    for _ in range(spec.repeats):
        splitter = StratifiedKFold(spec.folds, shuffle=True, random_state=state)
        folds += [Fold(train, valid) for train, valid in splitter.split(np.zeros(len(y)), y)]
    times = f", {spec.repeats} times" if spec.repeats > 1 else ""
    return Folds(tuple(folds), f"stratified {spec.folds}-fold cross-validation{times}{why}")
