"""The folds of a job: the rows that each fit task trains on and validates on, and the classes that no model learns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Rows

Labels = NDArray[np.int64]
Groups = NDArray[np.int64]


class FoldsError(ValueError):
    """The rows cannot be split in this way; `key` is the key of `validation` in the job file to change."""

    def __init__(self, message: str, key: str = "folds") -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True)
class Fold:
    """Sorted positions of the training rows and of the validation rows of a fit task."""

    train: Rows
    valid: Rows


@dataclass(frozen=True)
class Folds:
    """All folds of a job and the rule that made them."""

    folds: tuple[Fold, ...]
    reason: str

    def __len__(self) -> int:
        return len(self.folds)

    def __getitem__(self, i: int) -> Fold:
        return self.folds[i]


@dataclass(frozen=True)
class UnlearnableClass:
    """Validation rows of a class that has no training rows in their fold, so that no model can predict them
    correctly."""

    label: int
    rows: int
    folds: tuple[int, ...]
    """Numbers (from 0) of the folds that validate on these rows without a training row of their class."""
    groups: int | None
    """Number of groups with rows of the class; None if there are no groups."""
    ever: bool
    """Whether the models of another fold learn the class."""

    def warning(self, name: str) -> str:
        """Return a warning about the class called `name`."""
        numbers = [str(fold + 1) for fold in self.folds]
        folds = f"fold {numbers[0]}" if len(numbers) == 1 else f"folds {', '.join(numbers[:-1])} and {numbers[-1]}"
        if self.groups == 1:
            why = f"has rows in only one group, which the models of {folds} do not train on"
        else:
            these = "this fold" if len(numbers) == 1 else "these folds"
            why = f"has no training rows in {folds}: the models of {these} cannot learn it"
        rows = "1 row does" if self.rows == 1 else f"{self.rows:,} rows do"
        never = "" if self.ever else "; no model learns this class: add training rows for it"
        return f"class {name} {why}; {rows} not count in the selection and the scores{never}"


def learnable_rows(
    y: Labels, folds: Iterable[Fold], *, weight: NDArray[np.floating] | None = None
) -> NDArray[np.bool_]:
    """Return a mask (N,) of the rows whose class has training rows in each of the `folds` that validate on them.

    Training rows with a `weight` (N,) of 0 do not count. Rows that no fold validates on are learnable.
    """
    learnable = np.ones(len(y), dtype=bool)
    for fold in folds:
        learnable[fold.valid] &= np.isin(y[fold.valid], _trained_classes(y, fold, weight))
    return learnable


def unlearnable_classes(
    y: Labels, folds: Sequence[Fold], *, weight: NDArray[np.floating] | None = None, groups: Groups | None = None
) -> list[UnlearnableClass]:
    """Return the rows that `learnable_rows` excludes, by class."""
    trained_classes = [_trained_classes(y, fold, weight) for fold in folds]
    out = ~learnable_rows(y, folds, weight=weight)
    return [
        UnlearnableClass(
            label=int(label),
            rows=int((out & (y == label)).sum()),
            folds=tuple(
                number
                for number, (fold, known) in enumerate(zip(folds, trained_classes, strict=True))
                if label not in known and (y[fold.valid] == label).any()
            ),
            groups=None if groups is None else len(np.unique(groups[y == label])),
            ever=any(label in known for known in trained_classes),
        )
        for label in np.unique(y[out])
    ]


def _trained_classes(y: Labels, fold: Fold, weight: NDArray[np.floating] | None) -> Labels:
    """Return the classes of a fold's training rows with a positive weight."""
    rows = fold.train if weight is None else fold.train[weight[fold.train] > 0]
    return np.unique(y[rows])
