"""No calibration."""

from __future__ import annotations

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.calibrations.temperature import Temperature
from quorate.ensemble.calibrator import Calibrator
from quorate.registry import CALIBRATIONS, KindParams


class NoneParams(KindParams):
    kind: str = "none"


@CALIBRATIONS.register("none")
class NoCalibration(Calibrator[NoneParams]):
    """No calibration: a temperature of 1."""

    Params, Fitted = NoneParams, Temperature

    def fit(self, *, proba: Proba, y: Labels) -> Temperature:
        return Temperature(1.0)
