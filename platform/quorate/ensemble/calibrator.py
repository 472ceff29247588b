"""Base classes of calibrations. They are fitted on probabilities and labels, and map probabilities to calibrated
ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.metrics import SMALLEST_PROBA
from quorate.ensemble.threads import in_threads
from quorate.registry import CALIBRATIONS, KindParams

P_co = TypeVar("P_co", bound=KindParams, covariant=True)


class Calibration(ABC):
    """A fitted, immutable map from probabilities to calibrated ones, stored as JSON in a bundle."""

    kind: ClassVar[str]

    @abstractmethod
    def apply(self, proba: Proba) -> Floats:
        """Calibrate probabilities (n, K); rows of the result sum to 1."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the values that `from_json` takes."""

    @classmethod
    @abstractmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self: ...


@dataclass(frozen=True)
class Calibrator(ABC, Generic[P_co]):
    """A kind of calibration with its parameters, registered in `quorate.registry.CALIBRATIONS`."""

    Params: ClassVar[type[KindParams]]
    Fitted: ClassVar[type[Calibration]]
    params: P_co

    @abstractmethod
    def fit(self, *, proba: Proba, y: Labels) -> Calibration:
        """Fit a calibration to probabilities (N, K) and labels (N,). Equal inputs give bit-identical results."""

    def fit_dependent(self, *, proba: Proba, y: Labels, dependence: Dependence) -> Calibration:
        """Fit like `fit`, on rows that may belong to groups or be ordered in time; a kind that splits the rows must
        override this."""
        return self.fit(proba=proba, y=y)


def calibrator_of(params: KindParams) -> Calibrator[KindParams]:
    made: Calibrator[KindParams] = CALIBRATIONS.get(params.kind)(params)
    return made


def fit_each(
    params: KindParams, *, proba: Proba, y: Labels, dependence: Dependence = INDEPENDENT
) -> tuple[Calibration, ...]:
    """Fit a calibration of the kind in `params` to each member of (M, N, K)."""
    calibrator = calibrator_of(params)

    def fit(member: Proba) -> Calibration:
        return calibrator.fit_dependent(proba=member, y=y, dependence=dependence)

    return tuple(in_threads(fit, proba, numbers=proba.size))


def calibrated(calibrations: Sequence[Calibration], proba: Proba) -> Iterator[Floats]:
    """Yield each member of (M, N, K), calibrated."""
    places = range(len(proba))
    return in_threads(lambda place: calibrations[place].apply(proba[place]), places, numbers=proba.size)


def calibration_from_json(values: Mapping[str, Any]) -> Calibration:
    """Rebuild a calibration from `{"kind": ..., **to_json()}`; raises `ValueError` for an unknown kind."""
    made: Calibration = CALIBRATIONS.get(values["kind"]).Fitted.from_json(values)
    return made


def calibration_to_json(calibration: Calibration) -> dict[str, Any]:
    return {"kind": calibration.kind, **calibration.to_json()}


def true_class_proba(members: Iterable[Proba], y: Labels) -> Floats:
    """Return the probability (M, N) that each member (N, K) gives to the label, at least 1e-12. The log-loss depends on
    nothing else, so a search over weights needs only 1 / K of the memory.
    """
    rows = np.arange(len(y))
    true = np.array([member[rows, y] for member in members], np.float64)
    return np.maximum(true, SMALLEST_PROBA, out=true)
