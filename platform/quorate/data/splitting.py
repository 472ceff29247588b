"""Split rows into folds: by class, in whole groups or in time order."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from quorate.data.dataset import Rows
from quorate.data.folds import Fold, Folds, FoldsError, Groups, Labels
from quorate.spec import ValidationSpec

Times = NDArray[np.float64]


def make_folds(
    y: Labels, spec: ValidationSpec, seed: int, *, groups: Groups | None = None, time: Times | None = None
) -> Folds:
    """Return folds for labels `y` (N,), always the same for the same seed.

    They are stratified by class. With `groups` (N,), no group is in both the training and the validation rows of a
    fold. With `time` (N,), each validation row is later than the training rows of its fold, and the earliest rows are
    in no validation set.

    Raises `FoldsError` if there are too few rows of a class, groups or times.
    """
    if len(np.unique(y)) < 2:
        raise FoldsError("all training rows have the same class; a classifier needs at least two classes")
    scheme, why = spec.scheme, ""
    if scheme == "auto":
        scheme = "kfold" if len(y) < spec.auto_rows else "holdout"
        why = (
            f" (auto: {len(y):,} training rows, {'fewer than' if scheme == 'kfold' else 'at least'} {spec.auto_rows:,})"
        )
    state = np.random.RandomState(seed % 2**32)
    if groups is not None and time is not None:
        raise FoldsError("rows are split by groups or by time, not by both; remove one of them", "scheme")
    if time is not None:
        made = _timed(time, spec, scheme)
    elif groups is not None:
        made = _grouped(y, groups, spec, scheme, state)
    else:
        made = _stratified(y, spec, scheme, state)
    return Folds(made.folds, made.reason + why + _missing_classes(y, made.folds))


def whole_groups(y: Labels, groups: Groups, fraction: float, state: np.random.RandomState) -> tuple[Rows, Rows]:
    """Return the remaining rows, and whole groups with about `fraction` of all rows and of each class.

    These groups are the validation rows of the first fold of scikit-learn's `StratifiedGroupKFold`, or its training
    rows if `fraction` is above 0.5. Raises `FoldsError` if there is only one group.
    """
    count = len(np.unique(groups))
    if count < 2:
        raise FoldsError("all rows belong to one group; at least two groups are required", "scheme")
    parts = min(max(2, round(1 / min(fraction, 1 - fraction))), count)
    large, small = _group_folds(y, groups, parts, state)[0]
    return (large, small) if fraction <= 0.5 else (small, large)


def latest_rows(time: Times, fraction: float) -> tuple[Rows, Rows]:
    """Return the earlier rows, and the latest `fraction` of the rows, both sorted; equal times stay together.

    Raises `FoldsError` if all times are equal.
    """
    order = np.argsort(time, kind="stable")
    (start,) = _between_times(time[order], [len(time) - int(np.ceil(fraction * len(time)))])
    if not 0 < start < len(time):
        raise FoldsError("all rows have the same time; at least two different times are required", "scheme")
    return np.sort(order[:start]), np.sort(order[start:])


def _stratified(y: Labels, spec: ValidationSpec, scheme: str, state: np.random.RandomState) -> Folds:
    counts = np.bincount(y)
    rarest = int(counts[counts > 0].min())
    if scheme == "holdout":
        if rarest < 2:
            raise FoldsError("the rarest class has 1 row; a stratified holdout needs at least 2 per class", "scheme")
        try:
            train, valid = train_test_split(np.arange(len(y)), test_size=spec.fraction, stratify=y, random_state=state)
        except ValueError as error:
            raise FoldsError(f"cannot hold out {spec.fraction:g} of {len(y)} rows: {error}", "fraction") from None
        return Folds((Fold(np.sort(train), np.sort(valid)),), f"one stratified holdout fold of {spec.fraction:.0%}")
    if rarest < spec.folds:
        raise FoldsError(
            f"{spec.folds} folds, but the rarest class has {rarest} rows; set validation.folds to {rarest} or less"
            if rarest >= 2
            else f"{spec.folds} folds, but the rarest class has 1 row; add rows of this class or remove it"
        )
    folds = []
    for _ in range(spec.repeats):
        splitter = StratifiedKFold(spec.folds, shuffle=True, random_state=state)
        folds += [Fold(train, valid) for train, valid in splitter.split(np.zeros(len(y)), y)]
    return Folds(tuple(folds), f"stratified {spec.folds}-fold cross-validation{_times(spec)}")


def _grouped(y: Labels, groups: Groups, spec: ValidationSpec, scheme: str, state: np.random.RandomState) -> Folds:
    count = len(np.unique(groups))
    if scheme == "holdout":
        train, valid = whole_groups(y, groups, spec.fraction, state)
        held = len(np.unique(groups[valid]))
        part = f"{len(valid) / len(y):.0%} of the rows, {held:,} of {count:,} groups"
        return Folds((Fold(train, valid),), f"one stratified holdout fold of whole groups: {part}")
    if count < spec.folds:
        raise FoldsError(
            f"{spec.folds} folds, but the rows have only {count} groups; set validation.folds to {count} or less"
            if count >= 2
            else f"{spec.folds} folds, but all rows belong to one group; leave `groups` out of data"
        )
    pairs = [pair for _ in range(spec.repeats) for pair in _group_folds(y, groups, spec.folds, state)]
    reason = f"stratified {spec.folds}-fold cross-validation in whole groups ({count:,} groups){_times(spec)}"
    return Folds(tuple(Fold(train, valid) for train, valid in pairs), reason)


def _group_folds(y: Labels, groups: Groups, parts: int, state: np.random.RandomState) -> list[tuple[Rows, Rows]]:
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class has fewer rows than folds; the rule mentions it
        try:
            pairs = list(splitter.split(np.zeros(len(y)), y, groups))
        except ValueError as error:
            raise FoldsError(f"the groups cannot be split into {parts} parts: {error}") from None
    if not all(len(train) and len(valid) for train, valid in pairs):
        raise FoldsError(f"the groups are too unequal for {parts} parts; lower validation.folds")
    return pairs


def _timed(time: Times, spec: ValidationSpec, scheme: str) -> Folds:
    """Split the rows by time like scikit-learn's `TimeSeriesSplit`, but keep rows with equal times together."""
    if scheme == "holdout":
        train, valid = latest_rows(time, spec.fraction)
        return Folds((Fold(train, valid),), f"one holdout fold, the latest {len(valid) / len(time):.0%} of the rows")
    if spec.repeats > 1:
        raise FoldsError("rows in time order can be split in only one way; remove repeats", "repeats")
    rows, order = len(time), np.argsort(time, kind="stable")
    size = rows // (spec.folds + 1)
    starts = [rows - size * left for left in range(spec.folds, 0, -1)] if size else [0]
    borders = [*_between_times(time[order], starts), rows]
    if borders[0] < 1 or (np.diff(borders) < 1).any():
        raise FoldsError(
            f"{spec.folds} folds in time order require more different times than the {len(np.unique(time)):,} of these "
            f"{rows:,} rows; lower validation.folds, or use scheme: holdout"
        )
    folds = [Fold(np.sort(order[:a]), np.sort(order[a:b])) for a, b in pairwise(borders)]
    never = f"the earliest {borders[0] / rows:.0%} of the rows are never used for validation"
    return Folds(tuple(folds), f"{spec.folds} folds in time order, each trained on all earlier rows; {never}")


def _between_times(time: Times, borders: Sequence[int]) -> list[int]:
    """Move each border between sorted rows so that equal times stay together: to the first row with the same time, or
    if that is row 0, to the row after the last one with that time."""
    moved = []
    for border in borders:
        first = int(np.searchsorted(time, time[border]))
        moved.append(first or int(np.searchsorted(time, time[border], side="right")) if border else 0)
    return moved


def _missing_classes(y: Labels, folds: Sequence[Fold]) -> str:
    """Return a note on folds whose training rows lack classes; raises `FoldsError` if they have only one class."""
    every, notes = len(np.unique(y)), []
    for number, fold in enumerate(folds, 1):
        present = len(np.unique(y[fold.train]))
        if present < 2:
            raise FoldsError(f"all training rows of fold {number} have the same class; lower validation.folds")
        if present < every:
            notes.append(f"the training rows of fold {number} lack {every - present} of the {every} classes")
    return "".join(f"; {note}" for note in notes)


def _times(spec: ValidationSpec) -> str:
    return f", {spec.repeats} times" if spec.repeats > 1 else ""
