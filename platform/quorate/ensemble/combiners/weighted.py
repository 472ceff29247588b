"""The weighted mean of least log-loss: every member is calibrated, all weights are found at once."""

from __future__ import annotations

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.calibration import fit_temperatures
from quorate.ensemble.combination import Combination
from quorate.ensemble.combiner import Combiner, with_final_temperature
from quorate.ensemble.simplex import optimal_weights
from quorate.kinds import COMBINERS, KindParams


class WeightedParams(KindParams):
    kind: str = "weighted"


@COMBINERS.register("weighted")
class Weighted(Combiner[WeightedParams]):
    """A temperature per member, the optimal weights on the simplex, a temperature for the mean."""

    Params = WeightedParams

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        temperatures = fit_temperatures(proba=proba, y=y)
        weights = optimal_weights(proba=proba, y=y, temperatures=temperatures)
        combination = Combination(kind="weighted", weights=weights, temperatures=temperatures, temperature=1.0)
        return with_final_temperature(combination, proba=proba, y=y)
