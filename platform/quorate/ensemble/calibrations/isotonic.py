"""Isotonic calibration: any nondecreasing curve; requires a thousand rows or more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.isotonic import IsotonicRegression

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibrator import Calibration, Calibrator
from quorate.ensemble.temperature_scaling import normalized_rows
from quorate.registry import CALIBRATIONS, KindParams


class IsotonicParams(KindParams):
    kind: str = "isotonic"


@dataclass(frozen=True, eq=False)
class Isotonic(Calibration):
    """One nondecreasing, piecewise linear calibration curve per class.

    `points` has an array (2, n) per class: the probabilities and the calibrated probabilities of n points of its curve.
    The curves are fitted one-vs-rest, and each calibrated row is scaled to sum to 1 (Zadrozny and Elkan 2002,
    "Transforming classifier scores into accurate multiclass probability estimates", section 5).
    """

    kind: ClassVar[str] = "isotonic"
    points: tuple[Floats, ...]

    def apply(self, proba: Proba) -> Floats:
        p = normalized_rows(proba)
        each = [np.interp(p[:, k], given, found) for k, (given, found) in enumerate(self.points)]
        return normalized_rows(np.column_stack(each))

    def to_json(self) -> dict[str, Any]:
        return {"points": [curve.tolist() for curve in self.points]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(tuple(np.array(curve, np.float64) for curve in values["points"]))


@CALIBRATIONS.register("isotonic")
class IsotonicCalibration(Calibrator[IsotonicParams]):
    """Isotonic calibration with one nondecreasing curve per class, one-vs-rest; requires a thousand rows or more."""

    Params, Fitted = IsotonicParams, Isotonic

    def fit(self, *, proba: Proba, y: Labels) -> Isotonic:
        """Fit the curves. One pseudo-row with the uniform distribution is mixed in, so that no class gets a probability
        of 0.

        A class without rows keeps its probabilities.
        """
        p, k = normalized_rows(proba), proba.shape[1]
        shrink = 1 / (len(y) + 1)
        return Isotonic(tuple(_curve(p[:, c], np.asarray(y == c), k, shrink) for c in range(k)))


def _curve(p: Floats, target: np.ndarray, n_classes: int, shrink: float) -> Floats:
    if not target.any():
        return np.array([[0.0, 1.0], [0.0, 1.0]])
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, target)
    found = (1 - shrink) * fitted.y_thresholds_ + shrink / n_classes
    return np.array([fitted.X_thresholds_, found], np.float64)
