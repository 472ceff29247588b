"""Vector scaling: a slope and a shift per class, for classes that are miscalibrated in different ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field
from scipy.optimize import minimize

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibrator import Calibration, Calibrator
from quorate.ensemble.temperature_scaling import log_proba, softmax
from quorate.registry import CALIBRATIONS, KindParams


# The default of `ridge` is an assumption, not a measurement.
class VectorParams(KindParams):
    kind: str = "vector"
    ridge: float = Field(default=10.0, ge=0)
    """Strength, in rows, of the L2 penalty that keeps slopes near 1 and shifts near 0; its coefficient is ridge / (2
    N)."""


@dataclass(frozen=True, eq=False)
class Vector(Calibration):
    """softmax(w log p + b), with `slope` w and `shift` b per class (Guo et al. 2017, section 4.2)."""

    kind: ClassVar[str] = "vector"
    slope: Floats
    shift: Floats

    def apply(self, proba: Proba) -> Floats:
        return softmax(log_proba(proba) * self.slope + self.shift)

    def to_json(self) -> dict[str, Any]:
        return {"slope": self.slope.tolist(), "shift": self.shift.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(np.array(values["slope"], np.float64), np.array(values["shift"], np.float64))


@CALIBRATIONS.register("vector")
class VectorScaling(Calibrator[VectorParams]):
    """Vector scaling with a slope and a shift per class; requires many rows per class."""

    Params, Fitted = VectorParams, Vector

    def fit(self, *, proba: Proba, y: Labels) -> Vector:
        """Minimize the convex loss -mean(log p of the label) + ridge / (2 N) (|w - 1|² + |b|²) by L-BFGS.

        A class without rows is left out of the softmax and keeps slope 1 and shift 0: the absence of rows is no
        evidence of how probable the class is in other data.
        """
        slopes, shifts = np.ones(proba.shape[1]), np.zeros(proba.shape[1])
        seen, y = np.unique(y, return_inverse=True)
        logits, rows, k = log_proba(proba).take(seen, axis=1), np.arange(len(y)), len(seen)
        neutral = np.r_[np.ones(k), np.zeros(k)]
        if not len(y):
            return Vector(slopes, shifts)
        strength = self.params.ridge / len(y)

        def loss(parameters: Floats) -> tuple[float, Floats]:
            slope, shift = parameters[:k], parameters[k:]
            p = softmax(logits * slope + shift)
            off = parameters - neutral
            value = -np.log(np.maximum(p[rows, y], 1e-300)).mean() + strength / 2 * off @ off
            p[rows, y] -= 1
            p /= len(y)
            return float(value), np.r_[np.einsum("nk,nk->k", p, logits), p.sum(axis=0)] + strength * off

        found = minimize(loss, neutral, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
        slopes[seen], shifts[seen] = found[:k], found[k:]
        return Vector(slopes, shifts)
