"""A fitted ensemble: the weights and calibrations that combine members' probabilities into one prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quorate.ensemble.arrays import Floats, Mask, Proba
from quorate.ensemble.calibrations.temperature import Temperature
from quorate.ensemble.calibrator import Calibration, calibration_from_json, calibration_to_json
from quorate.ensemble.uncertainty import Uncertainty, uncertainty_of
from quorate.registry import COMBINERS
from quorate.registry.own_code import package_of

AS_IT_IS = Temperature(1.0)
"""The calibration that leaves probabilities unchanged."""


@dataclass(frozen=True)
class Candidate:
    """A candidate that a combiner could choose, with its cross-fitted loss.

    `error` is the standard error of the difference between its loss and that of the best candidate; None if unknown.
    """

    name: str
    loss: float
    error: float | None = None
    chosen: bool = False


@dataclass(frozen=True, eq=False)
class Combination:
    """The result of fitting a combiner.

    `weights` (M,) sum to 1. `calibrations` (M) are applied to the members before pooling, and `calibration` to the
    pooled probabilities. `candidates` are the candidates that a combiner chose from, if any.
    """

    kind: str
    weights: Floats
    calibrations: Sequence[Calibration]
    calibration: Calibration = AS_IT_IS
    candidates: tuple[Candidate, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        assert self.weights.shape == (len(self.calibrations),)
        assert np.isclose(self.weights.sum(), 1.0) and (self.weights >= 0).all()

    @property
    def temperatures(self) -> list[float | None]:
        """The temperature of each member; None if it has another calibration."""
        return [temperature_of(calibration) for calibration in self.calibrations]

    @property
    def temperature(self) -> float | None:
        """The temperature of the pooled probabilities; None if they have another calibration."""
        return temperature_of(self.calibration)

    def apply(self, proba: Proba, present: Mask | None = None) -> Floats:
        """Return one prediction (n, K) from the members' probabilities (M, n, K); rows sum to 1.

        Members absent from `present` (M,) are never read, and the other weights are scaled to sum to 1. If the present
        members have no weight, they get equal weights. Raises ValueError if no member is present.
        """
        used, weights = self._used(present)
        members = (self.calibrations[member].apply(proba[member]) for member in used)
        pooled: Floats = COMBINERS.get(self.kind).pool(members=members, weights=weights)
        return pooled if self.calibration == AS_IT_IS else self.calibration.apply(pooled)

    def uncertainty(self, proba: Proba, present: Mask | None = None) -> Uncertainty:
        """Return the total uncertainty of the calibrated members for each row, and its parts by source; arguments as in
        `apply`."""
        used, weights = self._used(present)
        return uncertainty_of(
            members=[self.calibrations[member].apply(proba[member]) for member in used], weights=weights
        )

    def _used(self, present: Mask | None) -> tuple[list[int], Floats]:
        """Return the members to use, and their weights."""
        here = np.ones(len(self.weights), dtype=bool) if present is None else np.asarray(present, dtype=bool)
        if not here.any():
            raise ValueError("no member is available: an ensemble needs at least one to predict")
        weights = np.where(here, self.weights, 0.0)
        if not weights.any():
            weights = here.astype(np.float64)
        used = np.flatnonzero(weights)
        return used.tolist(), weights[used] / weights[used].sum()

    def of(self, members: Sequence[int]) -> Combination:
        """Return the ensemble of these members alone; their weights are scaled to sum to 1."""
        weights = self.weights[list(members)]
        return Combination(
            self.kind, weights / weights.sum(), [self.calibrations[m] for m in members], self.calibration
        )

    def among(self, members: Sequence[int], total: int) -> Combination:
        """Return the same ensemble extended to `total` members: its own at the positions `members`, the others with
        weight 0."""
        weights: Floats = np.zeros(total)
        calibrations: list[Calibration] = [AS_IT_IS] * total
        for member, weight, calibration in zip(members, self.weights, self.calibrations, strict=True):
            weights[member], calibrations[member] = weight, calibration
        return Combination(self.kind, weights, calibrations, self.calibration, candidates=self.candidates)

    def to_json(self) -> dict[str, Any]:
        """Return the form stored in a bundle.

        A user's own kind with the default pooling is not needed for prediction and is stored as `mean`. A kind with its
        own pooling is stored as a requirement of the bundle.
        """
        reference = COMBINERS.reference(self.kind)
        pooling: dict[str, str] = {}
        if reference is not None:
            plain = COMBINERS.get(self.kind).pool is COMBINERS.get("mean").pool
            pooling = {"pool": "mean"} if plain else {"requires": package_of(reference)}
        return {
            "kind": self.kind,
            **pooling,
            "weights": self.weights.tolist(),
            "calibrations": [calibration_to_json(calibration) for calibration in self.calibrations],
            "calibration": calibration_to_json(self.calibration),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Combination:
        return cls(
            kind=values.get("pool", values["kind"]),
            weights=np.array(values["weights"], dtype=np.float64),
            calibrations=[calibration_from_json(saved) for saved in values["calibrations"]],
            calibration=calibration_from_json(values["calibration"]),
        )


def temperature_of(calibration: Calibration) -> float | None:
    return calibration.temperature if isinstance(calibration, Temperature) else None


def single_member(*, member: int, members: int, calibration: Calibration = AS_IT_IS) -> Combination:
    """Return an ensemble of `members` members in which the calibrated member number `member` has all the weight."""
    weights: Floats = np.zeros(members)
    weights[member] = 1.0
    calibrations: list[Calibration] = [AS_IT_IS] * members
    calibrations[member] = calibration
    return Combination("best_single", weights, calibrations)
