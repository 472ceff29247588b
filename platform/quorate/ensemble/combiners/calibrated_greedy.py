"""Calibrated greedy selection, the default: calibrate, select on the objective, calibrate again."""

from __future__ import annotations

from functools import partial

from pydantic import Field

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.calibrator import calibrated, fit_each
from quorate.ensemble.combination import Combination
from quorate.ensemble.combiner import Combiner, WeighingParams, with_final_calibration
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.objectives import Objective
from quorate.ensemble.selection import greedy_selection
from quorate.registry import COMBINERS


# The default of `rounds` and its range are assumptions, not measurements.
class CalibratedGreedyParams(WeighingParams):
    kind: str = "calibrated_greedy"

    rounds: int = Field(default=100, ge=25, le=100)
    """Number of rounds of selection, 25 to 100. Each round adds one member, possibly one that was added before."""
    objective: Objective = "nll"
    """The metric that the selection optimizes."""


@COMBINERS.register("calibrated_greedy")
class CalibratedGreedy(Combiner[CalibratedGreedyParams]):
    """Calibrate the members, select greedily with replacement, and calibrate the mean again."""

    Params = CalibratedGreedyParams
    simplicity = 7

    @property
    def objective(self) -> Objective:
        return self.params.objective

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        return self.fit_dependent(proba=proba, y=y, seed=seed, dependence=INDEPENDENT)

    def fit_dependent(self, *, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> Combination:
        p = self.params
        calibrations = fit_each(p.calibration, proba=proba, y=y, dependence=dependence)
        choose = partial(greedy_selection, y=y, rounds=p.rounds, objective=p.objective, seed=seed)
        weights = self.weigh(calibrated(calibrations, proba), choose)
        combination = Combination("calibrated_greedy", weights, calibrations)
        return with_final_calibration(combination, proba=proba, y=y, final=p.final, dependence=dependence)
