"""The plain mean: equal weights, and no calibration by default."""

from __future__ import annotations

from quorate.ensemble.combiner import CalibratingParams, EqualWeightCombiner
from quorate.registry import CALIBRATIONS, COMBINERS, kind_of


class MeanParams(CalibratingParams):
    kind: str = "mean"
    calibration: kind_of(CALIBRATIONS) = "none"  # type: ignore[valid-type]
    """Calibration of each member before pooling."""
    final: kind_of(CALIBRATIONS) = "none"  # type: ignore[valid-type]
    """Calibration of the pooled probabilities."""


@COMBINERS.register("mean")
class Mean(EqualWeightCombiner[MeanParams]):
    """Soft voting: the mean of the members' probabilities."""

    Params = MeanParams
    simplicity = 1
