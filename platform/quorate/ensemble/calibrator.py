"""What every calibration is: a pure fit from probabilities and labels to a map of probabilities onto better ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.metrics import SMALLEST_PROBA
from quorate.ensemble.threads import in_threads
from quorate.registry import CALIBRATIONS, KindParams

P_co = TypeVar("P_co", bound=KindParams, covariant=True)


class Calibration(ABC):
    """A fitted map of probabilities; frozen, and as JSON in a bundle."""

    kind: ClassVar[str]

    @abstractmethod
    def apply(self, proba: Proba) -> Floats:
        """Probabilities (n, K) as better ones; rows sum to 1."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The numbers that `from_json` takes."""

    @classmethod
    @abstractmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self: ...


@dataclass(frozen=True)
class Calibrator(ABC, Generic[P_co]):
    """A kind of calibration with its parameters; registered in `quorate.registry.CALIBRATIONS`."""

    Params: ClassVar[type[KindParams]]
    Fitted: ClassVar[type[Calibration]]
    params: P_co

    @abstractmethod
    def fit(self, *, proba: Proba, y: Labels) -> Calibration:
        """The calibration of probabilities (N, K) for labels (N,); equal inputs give equal bits."""


def calibrator_of(params: KindParams) -> Calibrator[KindParams]:
    made: Calibrator[KindParams] = CALIBRATIONS.get(params.kind)(params)
    return made


def fit_each(params: KindParams, *, proba: Proba, y: Labels) -> tuple[Calibration, ...]:
    """The calibration of each member of (M, N, K), as the kind of `params` makes it."""
    calibrator = calibrator_of(params)
    return tuple(in_threads(lambda member: calibrator.fit(proba=member, y=y), proba, numbers=proba.size))


def calibrated(calibrations: Sequence[Calibration], proba: Proba) -> Iterator[Floats]:
    """Each member of (M, N, K), calibrated, one after another."""
    places = range(len(proba))
    return in_threads(lambda place: calibrations[place].apply(proba[place]), places, numbers=proba.size)


def calibration_from_json(values: Mapping[str, Any]) -> Calibration:
    """What `{"kind": ..., **to_json()}` was; raises `ValueError` for an unknown kind."""
    made: Calibration = CALIBRATIONS.get(values["kind"]).Fitted.from_json(values)
    return made


def calibration_to_json(calibration: Calibration) -> dict[str, Any]:
    return {"kind": calibration.kind, **calibration.to_json()}


def true_class_proba(members: Iterable[Proba], y: Labels) -> Floats:
    """The probability (M, N) that each of the members, (N, K), gives to the label, at least 1e-12.

    It is all that log-loss needs of a member, so a search over weights runs on K times less memory.
    """
    rows = np.arange(len(y))
    true = np.array([member[rows, y] for member in members], np.float64)
    return np.maximum(true, SMALLEST_PROBA, out=true)
