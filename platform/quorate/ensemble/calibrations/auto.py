"""Choose the calibration by its cross-fitted log-loss."""

from __future__ import annotations

from pydantic import Field

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibrator import Calibration, Calibrator, calibrator_of
from quorate.ensemble.choice import simplest_within_one_error
from quorate.ensemble.crossfit import CROSSFIT_PARTS, parts_of
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.metrics import nll, row_nll
from quorate.registry import CALIBRATIONS, KindParams, kind_of


class AutoCalibrationParams(KindParams):
    kind: str = "auto"
    candidates: tuple[kind_of(CALIBRATIONS), ...] = Field(  # type: ignore[valid-type]
        default=("temperature", "matrix"), min_length=1
    )
    """The calibrations to choose from, the simplest first."""


@CALIBRATIONS.register("auto")
class AutoCalibration(Calibrator[AutoCalibrationParams]):
    """The first calibration within one standard error of the best cross-fitted one."""

    Params, Fitted = AutoCalibrationParams, Calibration

    def fit(self, *, proba: Proba, y: Labels) -> Calibration:
        return self.fit_dependent(proba=proba, y=y, dependence=INDEPENDENT)

    def fit_dependent(self, *, proba: Proba, y: Labels, dependence: Dependence) -> Calibration:
        calibrators = [calibrator_of(params) for params in self.params.candidates]
        if len(y) < 2:
            return calibrators[0].fit(proba=proba, y=y)
        parts = list(parts_of(y, splits=CROSSFIT_PARTS, seed=0, dependence=dependence))

        def estimate(calibrator: Calibrator[KindParams]) -> Floats:
            found = proba.astype(float)
            for rows, held in parts:
                inner = dependence.take(rows)
                fitted = calibrator.fit_dependent(proba=proba[rows], y=y[rows], dependence=inner)
                found[held] = fitted.apply(proba[held])
            return found

        estimates = [estimate(calibrator) for calibrator in calibrators]
        candidates = simplest_within_one_error(
            [calibrator.params.kind for calibrator in calibrators],
            [nll(found, y) for found in estimates],
            [row_nll(found, y) for found in estimates],
            groups=dependence.groups,
        )
        chosen = next(one for one, found in zip(calibrators, candidates, strict=True) if found.chosen)
        return chosen.fit_dependent(proba=proba, y=y, dependence=dependence)
