"""The median: members far from the others have no influence."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from quorate.ensemble.arrays import Floats
from quorate.ensemble.combiner import CalibratingParams, EqualWeightCombiner
from quorate.ensemble.temperature_scaling import normalized_rows
from quorate.registry import COMBINERS


class MedianParams(CalibratingParams):
    kind: str = "median"


@COMBINERS.register("median")
class Median(EqualWeightCombiner[MedianParams]):
    """The median of each class's probabilities, with rows scaled to sum to 1 (Kittler et al. 1998, section 3)."""

    Params = MedianParams
    simplicity = 3

    @staticmethod
    def pool(*, members: Iterable[Floats], weights: Floats) -> Floats:
        return normalized_rows(np.median(np.stack(list(members)), axis=0))
