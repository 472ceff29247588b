"""Cross-fitting: estimate each part of the rows with a fit on the other parts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature

Split = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Positions of the rows to fit on, and of the held-out rows."""


class FittedModel(Protocol):
    """The result of a fit: it maps the members' probabilities (M, n, K) to the ensemble's (n, K)."""

    def apply(self, proba: Proba) -> Floats: ...


class Fits(Protocol):
    def __call__(self, *, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> FittedModel: ...


CROSSFIT_PARTS = 5
"""Number of cross-fitting parts, unless the rarest class has fewer rows. 5 is usual for cross-validation (Hastie,
Tibshirani and Friedman 2009, section 7.10.1)."""


def parts_of(y: Labels, *, splits: int, seed: int, dependence: Dependence = INDEPENDENT) -> Iterator[Split]:
    """Split the rows into at most `splits` parts, fewer if the rarest class has fewer rows.

    The parts are stratified unless a class has a single row. Each group is in one part. Rows with times are split into
    consecutive blocks of about equal size, with equal times in the same block; the fit for a block uses the rows before
    and after it. If all rows have the same group or time, they are split as if they were independent.
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
    balanced = y if np.bincount(y).max() >= parts else np.zeros_like(y)  # fails if every class has fewer rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # warns if a class has fewer rows than parts
        splits = list(splitter.split(np.zeros(len(y)), balanced, groups))
    yield from ((fit_rows, held) for fit_rows, held in splits if len(held))  # large groups can leave a part empty


def _blocks(time: Floats, *, parts: int) -> Iterator[Split]:
    """Split rows into blocks in the order of `time`; with two or more distinct times there are at least two blocks."""
    _, moment, counts = np.unique(time, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts  # number of rows before each time
    block = np.minimum(before * parts // len(time), parts - 1)
    if block[-1] == block[0]:  # one block only: nearly all rows have the last time
        block[1:] += 1
    place = block[moment]
    for number in np.unique(block):
        yield np.flatnonzero(place != number), np.flatnonzero(place == number)


def crossfitted_temperature(proba: Proba, y: Labels, parts: Sequence[Split]) -> Floats:
    """Return one member's probabilities (N, K); each part is calibrated with the temperature fitted on the other
    parts."""
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
    """Return predictions (N, K) for members (M, N, K); each part is predicted by a fit on the other parts."""
    estimate = np.empty(proba.shape[1:])
    for fit_rows, held in parts:
        # `take` is ten times as fast as indexing here
        fitted = fit(proba=proba.take(fit_rows, axis=1), y=y[fit_rows], seed=seed, dependence=dependence.take(fit_rows))
        estimate[held] = fitted.apply(proba.take(held, axis=1))
    return estimate
