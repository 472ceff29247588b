"""Estimates that have not seen their rows: whatever is fitted is fitted on some parts and applied to the other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibration import apply_temperature, fit_temperature
from quorate.ensemble.dependence import INDEPENDENT, Dependence

Split = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Positions of the rows to fit on, and of those held out."""


class FittedModel(Protocol):
    """What was fitted: probabilities (M, n, K) of members to those of the ensemble (n, K)."""

    def apply(self, proba: Proba) -> Floats: ...


class Fits(Protocol):
    def __call__(self, *, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> FittedModel: ...


def parts_of(y: Labels, *, splits: int, seed: int, dependence: Dependence = INDEPENDENT) -> Iterator[Split]:
    """At most `splits` parts, fewer where the rarest class has fewer rows; stratified unless one has a single row.

    No group is in two parts. Rows in time are parted into blocks that follow each other, with as many rows each as
    equal times allow; what is fitted for a block has seen the rows before and after it. Where all rows are of one
    group or time, they are parted as if they were independent.
    """
    rarest = int(np.unique(y, return_counts=True)[1].min())
    state = seed % 2**32
    groups, time = dependence.groups, dependence.time
    if groups is not None and (count := len(np.unique(groups))) >= 2:
        most = rarest if rarest >= 2 else len(y)
        yield from _whole_groups(y, groups, parts=max(2, min(splits, most, count)), state=state)
        return
    if time is not None and len(np.unique(time)) >= 2:
        yield from _blocks(time, parts=splits)
        return
    if rarest >= 2:
        folds = StratifiedKFold(max(2, min(splits, rarest)), shuffle=True, random_state=state)
    else:
        folds = KFold(max(2, min(splits, len(y))), shuffle=True, random_state=state)
    yield from folds.split(np.zeros(len(y)), y)


def _whole_groups(y: Labels, groups: Labels, *, parts: int, state: int) -> Iterator[Split]:
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=state)
    balanced = y if np.bincount(y).max() >= parts else np.zeros_like(y)  # it refuses where every class is rarer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some class is rarer
        splits = list(splitter.split(np.zeros(len(y)), balanced, groups))
    yield from ((fit_rows, held) for fit_rows, held in splits if len(held))  # large groups can leave a part empty


def _blocks(time: Floats, *, parts: int) -> Iterator[Split]:
    """Blocks of rows in the order of `time`; two times or more give two blocks or more."""
    _, moment, counts = np.unique(time, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts  # rows earlier than each of the times
    block = np.minimum(before * parts // len(time), parts - 1)
    if block[-1] == block[0]:  # nearly all rows are of the last time
        block[1:] += 1
    place = block[moment]
    for number in np.unique(block):
        yield np.flatnonzero(place != number), np.flatnonzero(place == number)


def crossfitted_temperature(proba: Proba, y: Labels, parts: Sequence[Split]) -> Floats:
    """Probabilities (N, K) of one member, each part of the rows tempered as is best for the others."""
    estimate = np.empty(proba.shape)
    for fit_rows, held in parts:
        temperature = fit_temperature(proba=proba[fit_rows], y=y[fit_rows])
        estimate[held] = apply_temperature(proba=proba[held], temperature=temperature)
    return estimate


def crossfitted(
    fit: Fits,
    *,
    proba: Proba,
    y: Labels,
    parts: Sequence[Split],
    seed: int,
    dependence: Dependence = INDEPENDENT,
) -> Floats:
    """Predictions (N, K) for members (M, N, K), each row's by what was fitted without its part."""
    estimate = np.empty(proba.shape[1:])
    for fit_rows, held in parts:
        # `take` is ten times as fast as an index here
        fitted = fit(proba=proba.take(fit_rows, axis=1), y=y[fit_rows], seed=seed, dependence=dependence.take(fit_rows))
        estimate[held] = fitted.apply(proba.take(held, axis=1))
    return estimate
