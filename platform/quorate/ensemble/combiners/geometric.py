"""The geometric mean: a class that one member rules out is out, whatever the others say."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibration import log_proba, softmax
from quorate.ensemble.combination import Combination
from quorate.ensemble.combiner import Calibrated, Combiner, equal_weights
from quorate.kinds import COMBINERS


class GeometricParams(Calibrated):
    kind: str = "geometric"


@COMBINERS.register("geometric")
class Geometric(Combiner[GeometricParams]):
    """The logarithmic opinion pool (Heskes 1998): the mean of the members' log-probabilities."""

    Params = GeometricParams
    simplicity = 2

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        return equal_weights(self.params, proba=proba, y=y)

    @staticmethod
    def pool(*, members: Iterable[Floats], weights: Floats) -> Floats:
        return softmax(np.sum([weight * log_proba(proba) for weight, proba in zip(weights, members, strict=True)], 0))
