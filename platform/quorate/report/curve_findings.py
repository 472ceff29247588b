"""Classify learning curves: not learning, unsteady, overfitting, still falling, or settled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
History = Sequence[Mapping[str, float]]
"""One dictionary of metrics per epoch."""

LOG_SCALE = 8
"""Minimum ratio of the highest to the lowest loss at which the scale of a plot is logarithmic. An assumption, not a
measurement."""
NOT_LEARNING = 0.97
"""The training loss counts as not falling if it stays above this fraction of its value in the first epoch. An
assumption, not a measurement."""
JUMP, UNSTEADY = 0.2, 0.15
"""Curves are unsteady if the validation loss rises by more than the fraction `JUMP` from one epoch to the next, and
this happens in more than the fraction `UNSTEADY` of the epochs. Assumptions, not measurements."""
RISE = 0.05
"""The validation loss counts as rising if it ends above its minimum by more than this fraction. An assumption, not a
measurement."""
FALL = 0.05
"""The validation loss counts as still falling if it falls by more than this fraction in the last fifth of the epochs.
An assumption, not a measurement."""


@dataclass(frozen=True, eq=False)
class Curves:
    """The curves of one member's copies and folds."""

    histories: tuple[History, ...]
    restored: bool = False
    """Whether early stopping restored the weights of the best epoch."""

    @cached_property
    def epochs(self) -> int:
        """The smallest number of epochs of a copy or fold; with restored weights, the largest."""
        return (max if self.restored else min)(map(len, self.histories), default=0)

    def each(self, name: str) -> list[Floats]:
        """A metric of every copy and fold, NaN where it is missing."""
        return [np.array([epoch.get(name, math.nan) for epoch in history], np.float64) for history in self.histories]

    def mean(self, name: str) -> Floats:
        """The mean over copies and folds. Shorter histories with restored weights continue with their best epoch."""
        every = zip(self.each(name), self.bests, strict=True)
        return np.asarray(np.mean([self._filled(values, best) for values, best in every], axis=0))

    @cached_property
    def best(self) -> int:
        """The epoch, counted from 0, with the lowest mean validation loss."""
        loss = self.mean("valid_loss")
        return int(np.nanargmin(loss)) if np.isfinite(loss).any() else 0

    @cached_property
    def bests(self) -> tuple[int, ...]:
        """The best epoch of each copy and fold."""
        losses = self.each("valid_loss")
        return tuple(int(np.nanargmin(loss)) if np.isfinite(loss).any() else 0 for loss in losses)

    def _filled(self, values: Floats, best: int) -> Floats:
        return np.append(values, np.full(max(self.epochs - len(values), 0), values[best]))[: self.epochs]


@dataclass(frozen=True)
class CurveFinding:
    """The finding of one rule on a member's curves."""

    name: str
    problem: bool
    sentence: str


def read_curves(curves: Curves) -> CurveFinding:
    """The finding of the first rule that applies."""
    if curves.epochs < 3:
        return CurveFinding("short", False, f"{curves.epochs} epochs are too few for a conclusion")
    return next(said for rule in RULES if (said := rule(curves)) is not None)


def not_learning(curves: Curves) -> CurveFinding | None:
    loss = curves.mean("train_loss")
    if np.isfinite(loss).all() and loss[1:].min() <= NOT_LEARNING * loss[0]:
        return None
    return CurveFinding(
        "not learning",
        True,
        "the training loss does not fall: the learning rate is too high or far too low, see lr-find",
    )


def unsteady(curves: Curves) -> CurveFinding | None:
    """Each copy and fold is checked separately, because their mean would hide jumps."""
    shares = [(np.diff(loss) > JUMP * loss[:-1]).mean() for loss in curves.each("valid_loss") if len(loss) > 1]
    if np.mean(shares) <= UNSTEADY:
        return None
    return CurveFinding(
        "unsteady",
        True,
        "the validation loss jumps up and down: the learning rate is too high, or the batches are too small",
    )


def overfitting(curves: Curves) -> CurveFinding | None:
    """The rise after the best epoch must exceed two standard errors of the paired rises of the folds."""
    loss, best, epochs = curves.mean("valid_loss"), curves.best, curves.epochs
    if curves.restored:
        return None
    rises = np.array([values[epochs - 1] - values[best] for values in curves.each("valid_loss")])
    noise = 2 * rises.std(ddof=1) / math.sqrt(len(rises)) if len(rises) > 1 else 0.0
    if epochs - 1 - best < max(2, epochs // 10) or rises.mean() <= max(RISE * loss[best], noise):
        return None
    if not _less_accurate(curves):
        return CurveFinding(
            "too sure",
            False,
            f"the validation loss rises from {loss[best]:.3f} in epoch {best + 1} of {epochs} to {loss[-1]:.3f}, and "
            "the accuracy does not fall: the network becomes overconfident, which its temperature corrects",
        )
    where = f"best epoch {best + 1} of {epochs}, the validation loss then rises from {loss[best]:.3f} to {loss[-1]:.3f}"
    return CurveFinding("overfitting", True, f"overfitting: {where}")


def _less_accurate(curves: Curves) -> bool:
    """Whether the validation accuracy at the end is below that of the epoch with the lowest loss by more than two
    standard errors over copies and folds; True if no accuracy is recorded."""
    best, last = curves.best, curves.epochs - 1
    falls = np.array([values[best] - values[last] for values in curves.each("valid_accuracy")])
    if not np.isfinite(falls).all():
        return True
    noise = 2 * falls.std(ddof=1) / math.sqrt(len(falls)) if len(falls) > 1 else 0.0
    return bool(falls.mean() > noise)


def still_falling(curves: Curves) -> CurveFinding | None:
    loss, epochs = curves.mean("valid_loss"), curves.epochs
    last = max(1, epochs // 5)
    before, end = loss[-2 * last : -last].mean(), loss[-last:].mean()
    if curves.best < epochs - last or before - end <= FALL * before:
        return None
    return CurveFinding(
        "still falling", True, f"not converged: the validation loss still falls at the end, {loss[-1]:.3f}"
    )


def settled(curves: Curves) -> CurveFinding | None:
    loss, best = curves.mean("valid_loss"), curves.best
    if curves.restored:
        first, last = min(curves.bests) + 1, max(curves.bests) + 1
        which = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        return CurveFinding(
            "settled", False, f"settled: best {which}, validation loss {loss[-1]:.3f} with these weights"
        )
    return CurveFinding(
        "settled", False, f"settled: best epoch {best + 1} of {curves.epochs}, validation loss {loss[best]:.3f}"
    )


RULES: tuple[Callable[[Curves], CurveFinding | None], ...] = (
    not_learning,
    unsteady,
    overfitting,
    still_falling,
    settled,
)
"""Applied in this order; the last one always applies."""
