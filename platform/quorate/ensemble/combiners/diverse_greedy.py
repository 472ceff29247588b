"""Greedy selection that rewards disagreement, with the size of the reward chosen on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.calibrator import calibrated, fit_each
from quorate.ensemble.combination import Candidate, Combination
from quorate.ensemble.combiner import Combiner, WeighingParams, with_final_calibration
from quorate.ensemble.crossfit import CROSSFIT_PARTS, crossfitted, parts_of
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.metrics import nll
from quorate.ensemble.selection import greedy_selection
from quorate.registry import COMBINERS


# The defaults of `rounds` and `diversity` are assumptions, not measurements.
class DiverseGreedyParams(WeighingParams):
    kind: str = "diverse_greedy"

    rounds: int = Field(default=100, ge=25, le=100)
    """Number of rounds of selection, 25 to 100."""
    diversity: tuple[Annotated[float, Field(ge=0)], ...] = Field(default=(0.0, 0.1, 0.3, 1.0), min_length=1)
    """Candidate weights of the members' ambiguity relative to the log-loss of their average; cross-validation chooses
    the best one, or the smallest of equally good ones."""


@COMBINERS.register("diverse_greedy")
class DiverseGreedy(Combiner[DiverseGreedyParams]):
    """`calibrated_greedy` with a reward for ambiguity, whose size is chosen by cross-validation."""

    Params = DiverseGreedyParams
    simplicity = 8

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        return self.fit_dependent(proba=proba, y=y, seed=seed, dependence=INDEPENDENT)

    def fit_dependent(self, *, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> Combination:
        choices = sorted(set(self.params.diversity))
        losses = self._losses(choices, proba, y, seed, dependence) if len(choices) > 1 else [0.0]
        best = int(np.argmin(losses))
        combination = self._fit(proba=proba, y=y, seed=seed, diversity=choices[best], dependence=dependence)
        candidates = [
            Candidate(f"diversity {choice:g}", loss, chosen=number == best)
            for number, (choice, loss) in enumerate(zip(choices, losses, strict=True))
        ]
        return replace(combination, candidates=tuple(candidates) if len(choices) > 1 else ())

    def _losses(
        self, choices: Sequence[float], proba: Proba, y: Labels, seed: int, dependence: Dependence
    ) -> list[float]:
        parts = list(parts_of(y, splits=CROSSFIT_PARTS, seed=seed, dependence=dependence))
        losses = []
        for choice in choices:

            def fit(
                *, proba: Proba, y: Labels, seed: int, dependence: Dependence, choice: float = choice
            ) -> Combination:
                return self._fit(proba=proba, y=y, seed=seed, diversity=choice, dependence=dependence)

            estimate = crossfitted(fit, proba=proba, y=y, parts=parts, seed=seed, dependence=dependence)
            losses.append(nll(estimate, y))
        return losses

    def _fit(self, *, proba: Proba, y: Labels, seed: int, diversity: float, dependence: Dependence) -> Combination:
        p = self.params
        calibrations = fit_each(p.calibration, proba=proba, y=y, dependence=dependence)
        choose = partial(greedy_selection, y=y, rounds=p.rounds, diversity=diversity, seed=seed)
        weights = self.weigh(calibrated(calibrations, proba), choose)
        combination = Combination("diverse_greedy", weights, calibrations)
        return with_final_calibration(combination, proba=proba, y=y, final=p.final, dependence=dependence)
