"""Matrix scaling: a slope and a shift per class, and the influence of each class on the others, all with a penalty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field
from scipy.optimize import minimize

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibrator import Calibration, Calibrator
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature, log_proba, softmax
from quorate.registry import CALIBRATIONS, KindParams


class MatrixParams(KindParams):
    kind: str = "matrix"
    ridge: float = Field(default=1.0, gt=0)
    """Strength of the L2 penalty. The coefficient of slopes and shifts is ridge x K / N, that of the other numbers
    ridge x K (K - 1) / N, for K classes and N rows. The default is that of Berta et al. (2025)."""


@dataclass(frozen=True, eq=False)
class Matrix(Calibration):
    """softmax(W log q + b) with `weight` W (K, K) and `shift` b (K,), where q = softmax(log p / T).

    Berta et al. 2025, "Structured matrix scaling for multi-class calibration".
    """

    kind: ClassVar[str] = "matrix"
    temperature: float
    weight: Floats
    shift: Floats

    def apply(self, proba: Proba) -> Floats:
        logits = log_proba(apply_temperature(proba=proba, temperature=self.temperature))
        return softmax(np.einsum("nj,kj->nk", logits, self.weight) + self.shift)

    def to_json(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "weight": self.weight.tolist(), "shift": self.shift.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        weight, shift = (np.array(values[name], np.float64) for name in ("weight", "shift"))
        return cls(float(values["temperature"]), weight, shift)


@CALIBRATIONS.register("matrix")
class MatrixScaling(Calibrator[MatrixParams]):
    """Structured matrix scaling: a temperature, then a matrix that the penalty keeps near the identity."""

    Params, Fitted = MatrixParams, Matrix

    def fit(self, *, proba: Proba, y: Labels) -> Matrix:
        """Fit the temperature; then minimize the convex loss -mean(log p of the label) + penalty by L-BFGS.

        A class without rows is left out of the softmax and keeps its part of the identity.
        """
        k = proba.shape[1]
        weight, shift = np.eye(k), np.zeros(k)
        if not len(y):
            return Matrix(1.0, weight, shift)
        temperature = fit_temperature(proba=proba, y=y)
        seen, y = np.unique(y, return_inverse=True)
        logits = log_proba(apply_temperature(proba=proba, temperature=temperature)).take(seen, axis=1)
        delta, shift[seen] = _minimum(logits, y, self.params.ridge)
        weight[np.ix_(seen, seen)] += delta
        return Matrix(temperature, weight, shift)


def _minimum(logits: Floats, y: Labels, ridge: float) -> tuple[Floats, Floats]:
    """Return the matrix (K, K), less the identity, and the shift (K,) with the lowest penalized loss."""
    (n, k), rows = logits.shape, np.arange(len(y))
    strength = np.full((k, k + 1), ridge * k / n)
    strength[:, :k][~np.eye(k, dtype=bool)] *= k - 1
    inputs = np.column_stack([logits, np.ones(n)])

    def loss(parameters: Floats) -> tuple[float, Floats]:
        delta = parameters.reshape(k, k + 1)
        p = softmax(logits + np.einsum("nj,kj->nk", inputs, delta))
        value = -np.log(np.maximum(p[rows, y], 1e-300)).mean() + (strength * delta**2).sum()
        p[rows, y] -= 1
        slope = np.einsum("nk,nj->kj", p, inputs) / n + 2 * strength * delta
        return float(value), slope.ravel()

    options = {"maxiter": 1000, "ftol": 1e-11, "gtol": 1e-6}
    found = minimize(loss, np.zeros(k * (k + 1)), jac=True, method="L-BFGS-B", options=options).x.reshape(k, k + 1)
    return found[:, :k], found[:, k]
