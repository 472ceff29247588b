"""The best member alone: the one of least log-loss once each is calibrated."""

from __future__ import annotations

from dataclasses import replace

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.calibration import apply_temperature, fit_temperatures
from quorate.ensemble.combination import Combination, one_member
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.metrics import nll
from quorate.kinds import COMBINERS, KindParams


class BestSingleParams(KindParams):
    kind: str = "best_single"


@COMBINERS.register("best_single")
class BestSingle(Combiner[BestSingleParams]):
    """A temperature per member, then all the weight on one."""

    Params = BestSingleParams

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        temperatures = fit_temperatures(proba=proba, y=y)
        losses = [
            nll(apply_temperature(proba=member, temperature=temperature), y)
            for member, temperature in zip(proba, temperatures, strict=True)
        ]
        best = min(range(len(losses)), key=losses.__getitem__)
        combination = one_member(member=best, members=len(losses), temperature=1.0)
        return replace(combination, temperatures=temperatures)
