"""Temperature scaling, the default: one number, which hardly overfits and keeps the order of the classes in each
row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibrator import Calibration, Calibrator
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature
from quorate.registry import CALIBRATIONS, KindParams


class TemperatureParams(KindParams):
    kind: str = "temperature"


@dataclass(frozen=True)
class Temperature(Calibration):
    """softmax(log p / T) (Guo et al. 2017, section 4.2)."""

    kind: ClassVar[str] = "temperature"
    temperature: float = 1.0

    def apply(self, proba: Proba) -> Floats:
        return apply_temperature(proba=proba, temperature=self.temperature)

    def to_json(self) -> dict[str, Any]:
        return {"temperature": self.temperature}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(float(values["temperature"]))


@CALIBRATIONS.register("temperature")
class TemperatureScaling(Calibrator[TemperatureParams]):
    """Temperature scaling: one number that lowers or raises a member's confidence."""

    Params, Fitted = TemperatureParams, Temperature

    def fit(self, *, proba: Proba, y: Labels) -> Temperature:
        return Temperature(fit_temperature(proba=proba, y=y))
