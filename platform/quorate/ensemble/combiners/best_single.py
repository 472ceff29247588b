"""The best single member after calibration."""

from __future__ import annotations

from dataclasses import replace

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.calibrator import calibrated, fit_each
from quorate.ensemble.combination import Combination, single_member
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.objectives import Objective, search_loss
from quorate.registry import CALIBRATIONS, COMBINERS, KindParams, kind_of


class BestSingleParams(KindParams):
    kind: str = "best_single"

    calibration: kind_of(CALIBRATIONS) = "temperature"  # type: ignore[valid-type]
    """Calibration of each member."""
    objective: Objective = "nll"
    """The metric by which the best member is chosen."""


@COMBINERS.register("best_single")
class BestSingle(Combiner[BestSingleParams]):
    """Calibrate the members, then give all the weight to the best one."""

    Params = BestSingleParams
    simplicity = 0

    @property
    def objective(self) -> Objective:
        return self.params.objective

    @property
    def member_calibration(self) -> KindParams:
        calibration: KindParams = self.params.calibration
        return calibration

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        return self.fit_dependent(proba=proba, y=y, seed=seed, dependence=INDEPENDENT)

    def fit_dependent(self, *, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> Combination:
        calibrations = fit_each(self.params.calibration, proba=proba, y=y, dependence=dependence)
        losses = [search_loss(self.objective, member, y) for member in calibrated(calibrations, proba)]
        best = min(range(len(losses)), key=losses.__getitem__)
        return replace(single_member(member=best, members=len(losses)), calibrations=calibrations)
