"""The plain mean: every member counts the same, nothing is calibrated."""

from __future__ import annotations

import numpy as np

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.combination import Combination
from quorate.ensemble.combiner import Combiner
from quorate.kinds import COMBINERS, KindParams


class MeanParams(KindParams):
    kind: str = "mean"


@COMBINERS.register("mean")
class Mean(Combiner[MeanParams]):
    """Soft voting."""

    Params = MeanParams

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        members = len(proba)
        return Combination(
            kind="mean", weights=np.full(members, 1 / members), temperatures=np.ones(members), temperature=1.0
        )
