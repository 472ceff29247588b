"""The plain mean: every member counts the same, nothing is calibrated."""

from __future__ import annotations

from quorate.ensemble.combiner import CalibratingParams, EqualWeightCombiner
from quorate.registry import CALIBRATIONS, COMBINERS, kind_of


class MeanParams(CalibratingParams):
    kind: str = "mean"
    calibration: kind_of(CALIBRATIONS) = "none"  # type: ignore[valid-type]
    """Of each member, before pooling."""
    final: kind_of(CALIBRATIONS) = "none"  # type: ignore[valid-type]
    """Of the pooled probabilities."""


@COMBINERS.register("mean")
class Mean(EqualWeightCombiner[MeanParams]):
    """Soft voting."""

    Params = MeanParams
    simplicity = 1
