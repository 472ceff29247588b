"""Calibrated greedy selection, the default: calibrate, select on log-loss, calibrate again."""

from __future__ import annotations

from pydantic import Field

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.calibration import fit_temperatures
from quorate.ensemble.combination import Combination
from quorate.ensemble.combiner import Combiner, with_final_temperature
from quorate.ensemble.selection import greedy_selection
from quorate.kinds import COMBINERS, KindParams


class CalibratedGreedyParams(KindParams):
    kind: str = "calibrated_greedy"

    rounds: int = Field(default=100, ge=25, le=100)
    """Rounds of selection, 25 to 100; each adds one member, once more or for the first time."""


@COMBINERS.register("calibrated_greedy")
class CalibratedGreedy(Combiner[CalibratedGreedyParams]):
    """A temperature per member, greedy selection with replacement, a temperature for the mean."""

    Params = CalibratedGreedyParams

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        temperatures = fit_temperatures(proba=proba, y=y)
        weights = greedy_selection(proba=proba, y=y, temperatures=temperatures, rounds=self.params.rounds, seed=seed)
        combination = Combination(kind="calibrated_greedy", weights=weights, temperatures=temperatures, temperature=1.0)
        return with_final_temperature(combination, proba=proba, y=y)
