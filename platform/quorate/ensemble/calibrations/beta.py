"""Beta calibration: bends the calibration curve at both ends, for probabilities that one slope cannot correct."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field
from scipy.optimize import minimize
from scipy.special import expit

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibrator import Calibration, Calibrator
from quorate.ensemble.metrics import SMALLEST_PROBA
from quorate.ensemble.temperature_scaling import normalized_rows
from quorate.registry import CALIBRATIONS, KindParams


# The default of `ridge` is an assumption, not a measurement.
class BetaParams(KindParams):
    kind: str = "beta"
    ridge: float = Field(default=1.0, ge=0)
    """Strength, in rows, of the L2 penalty that keeps each class near no change; its coefficient is ridge / (2 N)."""


@dataclass(frozen=True, eq=False)
class Beta(Calibration):
    """Per class 1 / (1 + exp(-(a log p - b log(1 - p) + c))), with rows scaled to sum to 1.

    `coefficients` (K, 3) are a, b, c (Kull et al. 2017, "Beta calibration", equation 8). a and b are never negative, so
    the order of the rows is kept.
    """

    kind: ClassVar[str] = "beta"
    coefficients: Floats

    def apply(self, proba: Proba) -> Floats:
        each = expit(np.einsum("nkj,kj->nk", _features(proba), self.coefficients))
        return normalized_rows(each)

    def to_json(self) -> dict[str, Any]:
        return {"coefficients": self.coefficients.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(np.array(values["coefficients"], np.float64))


@CALIBRATIONS.register("beta")
class BetaCalibration(Calibrator[BetaParams]):
    """Beta calibration with three parameters per class, one-vs-rest."""

    Params, Fitted = BetaParams, Beta

    def fit(self, *, proba: Proba, y: Labels) -> Beta:
        """Fit the coefficients per class; a class without rows keeps its probabilities."""
        features = _features(proba)
        fitted = [
            _logistic(features[:, k], np.asarray(y == k, np.float64), self.params.ridge) for k in range(proba.shape[1])
        ]
        return Beta(np.array(fitted))


def _features(proba: Proba) -> Floats:
    """Return log p, -log(1 - p) and 1, (N, K, 3)."""
    p = normalized_rows(proba)
    up = np.log(np.maximum(p, SMALLEST_PROBA))
    down = -np.log(np.maximum(1 - p, SMALLEST_PROBA))
    return np.stack([up, down, np.ones_like(p)], axis=2)


_NEUTRAL = np.array([1.0, 1.0, 0.0])
"""The coefficients that leave a probability unchanged."""


def _logistic(x: Floats, target: Floats, ridge: float) -> Floats:
    """Return the coefficients (3,) with the lowest log-loss, the first two never negative."""
    if not target.any():
        return _NEUTRAL
    strength = ridge / len(x)

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        z = x @ coefficients
        off = coefficients - _NEUTRAL
        value = (np.logaddexp(0, z) - target * z).mean() + strength / 2 * off @ off
        return float(value), (expit(z) - target) @ x / len(x) + strength * off

    bounds = [(0, None), (0, None), (None, None)]
    found: Floats = minimize(loss, _NEUTRAL, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500}).x
    return found
