"""Decide after each step whether a trial goes on: Ray Tune's schedulers and Optuna's pruner, driven from outside.

Ray Tune's schedulers know a trial by its `trial_id` and call the controller of a tuner; small stand-ins are enough for
those that decide about one trial at a time. They count training in powers of the reduction, one for each step.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from quorate.search.base import Scheduler, Standing
from quorate.spec.search import SearchSpec

_LOSS, _TRAINING = "loss", "training"
_LEVEL = 0.1
"""Significance level of the Wilcoxon test: Optuna's default."""
_FEWEST = 3
"""Number of other trials that the median rule needs: Tune's default."""


def open_scheduler(spec: SearchSpec, steps: int, *, seed: int) -> Scheduler:
    """The scheduler of a search whose trials have this number of steps."""
    if spec.scheduler in ("none", "pbt") or steps == 1:  # a population decides about its trials itself
        return _Nothing()
    if spec.scheduler == "wilcoxon":
        return _Wilcoxon()
    common = {"time_attr": _TRAINING, "metric": _LOSS, "mode": "min"}
    if spec.scheduler == "median":
        return _Tune(MedianStoppingRule(grace_period=1, min_samples_required=_FEWEST, **common), spec.reduction, seed)
    brackets = steps if spec.scheduler == "hyperband" else 1
    most = spec.reduction ** (steps - 1) * (1 + 1e-9)  # a power's logarithm can be slightly too small for Tune
    asynchronous = AsyncHyperBandScheduler(
        max_t=most, grace_period=1, reduction_factor=spec.reduction, brackets=brackets, **common
    )
    return _Tune(asynchronous, spec.reduction, seed)


class _Nothing:
    """Lets every trial go on."""

    def begin(self, number: int) -> None:
        """Nothing is compared."""

    def goes_on(self, number: int, reached: Standing) -> bool:
        return True

    def end(self, number: int, reached: Standing | None) -> None:
        """Nothing is compared."""


@dataclass(frozen=True)
class _Trial:
    """A trial, as Tune's schedulers know it."""

    trial_id: str


class _Controller:
    """The controller of a tuner without waiting trials: no trial gives way to another one."""

    def get_live_trials(self) -> set[_Trial]:
        return set()


class _Tune:
    """One of Ray Tune's schedulers that decide about one trial at a time."""

    def __init__(self, scheduler: Any, reduction: float, seed: int) -> None:
        self._scheduler, self._reduction, self._seed = scheduler, reduction, seed
        self._controller = _Controller()

    def begin(self, number: int) -> None:
        with _seeded(self._seed + number):  # Tune draws the bracket from NumPy's global generator
            self._scheduler.on_trial_add(self._controller, _Trial(str(number)))

    def goes_on(self, number: int, reached: Standing) -> bool:
        found = self._scheduler.on_trial_result(self._controller, _Trial(str(number)), self._result(reached))
        return bool(found != TrialScheduler.STOP)

    def end(self, number: int, reached: Standing | None) -> None:
        if reached is not None:
            self._scheduler.on_trial_complete(self._controller, _Trial(str(number)), self._result(reached))

    def _result(self, reached: Standing) -> dict[str, float]:
        return {_TRAINING: self._reduction ** (reached.step - 1), _LOSS: reached.loss}


class _Wilcoxon:
    """Optuna's pruner: a trial ends if its folds are significantly worse than those of the best complete trial."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=_LEVEL)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="minimize", pruner=pruner)
        self._trials: dict[int, optuna.Trial] = {}
        self._told: dict[int, set[int]] = {}

    def begin(self, number: int) -> None:
        self._trials[number], self._told[number] = self._study.ask(), set()

    def goes_on(self, number: int, reached: Standing) -> bool:
        self._report(number, reached)
        return not self._trials[number].should_prune()

    def end(self, number: int, reached: Standing | None) -> None:
        if reached is None:
            self._study.tell(self._trials[number], state=optuna.trial.TrialState.FAIL)
            return
        self._report(number, reached)
        self._study.tell(self._trials[number], reached.loss)

    def _report(self, number: int, reached: Standing) -> None:
        for fold in sorted(reached.by_fold.keys() - self._told[number]):
            self._trials[number].report(reached.by_fold[fold], fold)
            self._told[number].add(fold)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """NumPy's global generator, seeded; afterwards it is as before."""
    before = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(before)
