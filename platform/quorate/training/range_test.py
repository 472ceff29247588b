"""The learning rate range test (Smith, 2017): train one batch at each of many rising learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from quorate.data.dataset import Images
from quorate.training.context import Diverged, Metrics, Numerics, Signal, State, TaskContext
from quorate.training.loop import Labelled, LoopSettings, fit_network

Floats = NDArray[np.float64]

DIVERGED = 4.0
"""The test ends when the smoothed loss exceeds its minimum by this factor (as in fastai)."""
PART = 0.1
"""Fraction of the total fall of the loss: a smaller fall counts as noise; a larger rise counts as a real rise. An
assumption, not a measurement."""
BELOW_LEAST = 10.0
"""The suggestion is the learning rate of the minimum loss divided by this (Smith, 2017: an order of magnitude
below)."""


@dataclass(frozen=True, eq=False)
class RangeTest:
    """Learning rates and losses in nats up to the end of the test; all arrays have the shape (n,)."""

    rates: Floats
    losses: Floats
    smoothed: Floats
    diverged: bool
    """Whether it ended before the last learning rate."""


@dataclass(frozen=True)
class RateRange:
    """The learning rates that a range test finds; None for those that it does not determine."""

    learns: bool
    """Whether the loss fell by more than its noise."""
    suggested: float | None
    """A tenth of `least`."""
    steepest: float | None
    """Learning rate at which the smoothed loss falls fastest."""
    least: float | None
    """Learning rate at which the smoothed loss is lowest."""
    too_low: float | None
    """Learning rate below which the loss does not change."""
    too_high: float | None
    """Learning rate above which the loss rises."""
    diverges: float | None
    """Learning rate at which the loss diverged and the test ended."""


class Sweep:
    """Collects the losses at rising learning rates and decides when to end."""

    def __init__(self, rates: Floats) -> None:
        self.rates = rates
        self._keep = keep(len(rates))
        self._losses: list[float] = []
        self._smoothed: list[float] = []
        self._average = 0.0

    @property
    def losses(self) -> list[float]:
        """The losses so far, in nats."""
        return list(self._losses)

    def add(self, loss: float) -> bool:
        """Add the loss at the next learning rate; return whether to continue."""
        self._average = self._keep * self._average + (1 - self._keep) * loss
        smoothed = self._average / (1 - self._keep ** (len(self._losses) + 1))
        self._losses.append(loss)
        self._smoothed.append(smoothed)
        return not self.diverged and len(self._losses) < len(self.rates)

    @property
    def diverged(self) -> bool:
        last = self._smoothed[-1] if self._smoothed else 0.0
        return not math.isfinite(last) or last > DIVERGED * min(self._smoothed, default=last)

    def result(self) -> RangeTest:
        n = len(self._losses)
        return RangeTest(self.rates[:n], np.array(self._losses), np.array(self._smoothed), self.diverged)


def log_spaced(low: float, high: float, steps: int) -> Floats:
    """Return `steps` learning rates from `low` to `high` with a constant ratio."""
    return np.geomspace(low, high, steps)


def keep(steps: int) -> float:
    """Return the decay of the exponential average, which averages over about a twentieth of the test."""
    return 1 - 1 / max(1.0, steps / 20)


def read(test: RangeTest, steps: int) -> RateRange:
    """Evaluate a test for which `steps` steps were planned.

    An exponential average lags behind its values by its mean age, `keep / (1 - keep)` steps. So the step at which the
    loss begins to rise is moved back by this number.
    """
    finite = np.isfinite(test.smoothed)
    rates, smoothed, losses = test.rates[finite], test.smoothed[finite], test.losses[finite]
    diverges = float(test.rates[-1]) if test.diverged else None
    beginning = losses[: max(3, steps // 10)]
    if len(smoothed) < 3:
        return RateRange(False, None, None, None, None, None, diverges)
    start, noise = float(np.mean(beginning)), float(np.std(beginning))
    least = int(np.argmin(smoothed))
    fall = start - float(smoothed[least])
    if fall <= max(2 * noise, 0.02 * start):
        return RateRange(False, None, None, None, None, None, diverges)
    lag = round(keep(steps) / (1 - keep(steps)))
    moves = np.flatnonzero(smoothed[: least + 1] > start - max(PART * fall, noise))
    rises = least + np.flatnonzero(smoothed[least:] > smoothed[least] + PART * fall)
    rise = int(rises[0]) if rises.size else len(rates) - 1 if test.diverged else None
    slope = np.gradient(smoothed[: least + 1], np.log(rates[: least + 1])) if least else np.zeros(1)
    return RateRange(
        learns=True,
        suggested=float(rates[least]) / BELOW_LEAST,
        steepest=float(rates[int(np.argmin(slope))]),
        least=float(rates[least]),
        too_low=float(rates[moves[-1]]) if moves.size else None,
        too_high=None if rise is None else float(rates[max(least, rise - lag)]),
        diverges=diverges,
    )


def sweep_network(
    network: nn.Module,
    *,
    rates: Floats,
    lr: float,
    train: Labelled,
    valid: Labelled,
    n_classes: int,
    recipe: LoopSettings,
    context: TaskContext,
) -> RangeTest:
    """Train `network` with the training loop, one batch at each learning rate; `lr` is that of the recipe's optimizer.

    The schedule is replaced, including a warm-up of the momentum. The learning rates of parameter groups keep their
    proportions to `lr`. The parameters that the recipe freezes in its last epoch are frozen throughout, so that one
    network is tested. Checkpoints include the losses so far.
    """
    sweep, rows = Sweep(rates), len(train[0])
    watched = _Watched(context, sweep, rows)
    if context.restored is not None:
        watched.restore(context.restored)

    def rising(optimizer: Optimizer, epochs: int, steps: int) -> LambdaLR:
        return LambdaLR(optimizer, lambda step: float(rates[min(step, len(rates) - 1)]) / lr)

    def prepare(epoch: int) -> None:
        if recipe.prepare is not None:
            recipe.prepare(recipe.epochs - 1)

    changes: dict[str, Any] = {"early_stopping": None, "swa": None, "snapshots": (), "prepare": prepare}
    tested = replace(recipe, epochs=len(rates), schedule=rising, **changes)
    try:
        fit_network(network, train=train, valid=valid, n_classes=n_classes, recipe=tested, context=watched)
    except Diverged:
        if not sweep.diverged:
            sweep.add(math.inf)
    return sweep.result()


class _Watched:
    """A task context that reads each batch's loss from the training state, and stops the training when the sweep
    ends."""

    def __init__(self, context: TaskContext, sweep: Sweep, rows: int) -> None:
        self._run, self._sweep, self._rows = context, sweep, rows
        self._sum = self._seen = 0.0

    @property
    def seed(self) -> int:
        return self._run.seed

    @property
    def numerics(self) -> Numerics:
        return self._run.numerics

    @property
    def deadline(self) -> float | None:
        return None

    @property
    def restored(self) -> State | None:
        return self._run.restored

    @property
    def unlabelled(self) -> Images | None:
        return None

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        if metrics is None:
            tally = state()["tally"]
            total, seen = float(tally["loss"]), float(tally["confusion"].sum())
        else:
            total, seen = metrics["train_loss"] * self._rows, float(self._rows)
        go_on = self._sweep.add((total - self._sum) / max(seen - self._seen, 1.0))
        self._sum, self._seen = (total, seen) if metrics is None else (0.0, 0.0)
        if not go_on:
            return Signal.STOP
        # an epoch has no meaning here: the caller's metrics are the losses of the batches
        return self._run.report(None, lambda: {**state(), "sweep": [*map(float, self._sweep.losses)]})

    def restore(self, saved: State) -> None:
        """Continue after the losses of a checkpoint."""
        for loss in saved["sweep"]:
            self._sweep.add(loss)
        self._sum, self._seen = float(saved["tally"]["loss"]), float(saved["tally"]["confusion"].sum())

    def asset(self, path: Path) -> Path:
        return self._run.asset(path)
