"""A fitted ensemble: the weights and temperatures that turn members' probabilities into one prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quorate.ensemble.arrays import Floats, Mask, Proba
from quorate.ensemble.calibration import apply_temperature
from quorate.kinds import COMBINERS
from quorate.own_code import package_of


@dataclass(frozen=True, eq=False)
class Combination:
    """What a combiner learned.

    `weights` (M,) sum to 1; `temperatures` (M,) temper each member before pooling; `temperature`
    tempers the pooled probabilities.
    """

    kind: str
    weights: Floats
    temperatures: Floats
    temperature: float

    def __post_init__(self) -> None:
        assert self.weights.shape == self.temperatures.shape and self.weights.ndim == 1
        assert np.isclose(self.weights.sum(), 1.0) and (self.weights >= 0).all()

    def apply(self, proba: Proba, present: Mask | None = None) -> Floats:
        """One prediction (n, K) from the members' probabilities (M, n, K); rows sum to 1.

        Members absent from `present` (M,) are never read and the others' weights are scaled to sum
        to 1; where the present ones weigh nothing, each of them counts the same. Raises ValueError
        when nobody is present.
        """
        here = np.ones(len(self.weights), dtype=bool) if present is None else np.asarray(present, dtype=bool)
        if not here.any():
            raise ValueError("no member is present: an ensemble needs at least one to predict")
        weights = np.where(here, self.weights, 0.0)
        if not weights.any():
            weights = here.astype(np.float64)
        used = np.flatnonzero(weights)
        tempered = (apply_temperature(proba=proba[member], temperature=self.temperatures[member]) for member in used)
        pooled: Floats = COMBINERS.get(self.kind).pool(members=tempered, weights=weights[used] / weights[used].sum())
        return pooled if self.temperature == 1 else apply_temperature(proba=pooled, temperature=self.temperature)

    def to_json(self) -> dict[str, Any]:
        """As a bundle keeps it: a user's own kind that pools as all do is not needed to predict, one that does
        not is named as what the bundle requires."""
        reference = COMBINERS.reference(self.kind)
        pooling: dict[str, str] = {}
        if reference is not None:
            plain = COMBINERS.get(self.kind).pool is COMBINERS.get("mean").pool
            pooling = {"pool": "mean"} if plain else {"requires": package_of(reference)}
        return {
            "kind": self.kind,
            **pooling,
            "weights": self.weights.tolist(),
            "temperatures": self.temperatures.tolist(),
            "temperature": self.temperature,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Combination:
        return cls(
            kind=values.get("pool", values["kind"]),
            weights=np.array(values["weights"], dtype=np.float64),
            temperatures=np.array(values["temperatures"], dtype=np.float64),
            temperature=float(values["temperature"]),
        )


def one_member(*, member: int, members: int, temperature: float) -> Combination:
    """The ensemble of `members` that is member number `member` alone, tempered."""
    weights, temperatures = np.zeros(members), np.ones(members)
    weights[member], temperatures[member] = 1.0, temperature
    return Combination(kind="best_single", weights=weights, temperatures=temperatures, temperature=1.0)
