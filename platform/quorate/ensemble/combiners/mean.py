"""The plain mean: every member counts the same, nothing is calibrated."""

from __future__ import annotations

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.combination import Combination
from quorate.ensemble.combiner import Calibrated, Combiner, equal_weights
from quorate.kinds import CALIBRATIONS, COMBINERS, kind_of


class MeanParams(Calibrated):
    kind: str = "mean"
    calibration: kind_of(CALIBRATIONS) = "none"  # type: ignore[valid-type]
    """Of each member, before pooling."""
    final: kind_of(CALIBRATIONS) = "none"  # type: ignore[valid-type]
    """Of the pooled probabilities."""


@COMBINERS.register("mean")
class Mean(Combiner[MeanParams]):
    """Soft voting."""

    Params = MeanParams
    simplicity = 1

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        return equal_weights(self.params, proba=proba, y=y)
