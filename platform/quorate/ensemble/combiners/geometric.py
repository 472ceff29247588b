"""The geometric mean: if one member rules out a class, the ensemble does too."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from quorate.ensemble.arrays import Floats
from quorate.ensemble.combiner import CalibratingParams, EqualWeightCombiner
from quorate.ensemble.temperature_scaling import log_proba, softmax
from quorate.registry import COMBINERS


class GeometricParams(CalibratingParams):
    kind: str = "geometric"


@COMBINERS.register("geometric")
class Geometric(EqualWeightCombiner[GeometricParams]):
    """The logarithmic opinion pool (Heskes 1998): the mean of the members' log-probabilities."""

    Params = GeometricParams
    simplicity = 2

    @staticmethod
    def pool(*, members: Iterable[Floats], weights: Floats) -> Floats:
        return softmax(np.sum([weight * log_proba(proba) for weight, proba in zip(weights, members, strict=True)], 0))
