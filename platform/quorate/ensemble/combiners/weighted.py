"""The weighted mean with the lowest log-loss: every member is calibrated, and all weights are optimized together."""

from __future__ import annotations

from functools import partial

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.calibrator import calibrated, fit_each
from quorate.ensemble.combination import Combination
from quorate.ensemble.combiner import Combiner, WeighingParams, with_final_calibration
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.simplex import optimal_weights
from quorate.registry import COMBINERS


class WeightedParams(WeighingParams):
    kind: str = "weighted"


@COMBINERS.register("weighted")
class Weighted(Combiner[WeightedParams]):
    """Calibrate the members, find the optimal weights on the simplex, and calibrate the mean again."""

    Params = WeightedParams
    simplicity = 6

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        return self.fit_dependent(proba=proba, y=y, seed=seed, dependence=INDEPENDENT)

    def fit_dependent(self, *, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> Combination:
        calibrations = fit_each(self.params.calibration, proba=proba, y=y, dependence=dependence)
        weights = self.weigh(calibrated(calibrations, proba), partial(optimal_weights, y=y))
        combination = Combination("weighted", weights, calibrations)
        return with_final_calibration(combination, proba=proba, y=y, final=self.params.final, dependence=dependence)
