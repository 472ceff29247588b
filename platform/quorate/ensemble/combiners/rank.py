"""Borda count: each member ranks the classes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.stats import rankdata

from quorate.ensemble.arrays import Floats
from quorate.ensemble.combiner import CalibratingParams, EqualWeightCombiner, with_an_undecided_voter
from quorate.registry import CALIBRATIONS, COMBINERS, kind_of


class RankParams(CalibratingParams):
    kind: str = "rank"
    calibration: kind_of(CALIBRATIONS) = "none"  # type: ignore[valid-type]
    """Calibration of each member before it ranks."""


@COMBINERS.register("rank")
class Rank(EqualWeightCombiner[RankParams]):
    """The mean rank of each class, scaled to a fraction (Ho et al. 1994); classes with equal probabilities share their
    ranks."""

    Params = RankParams
    simplicity = 5

    @staticmethod
    def pool(*, members: Iterable[Floats], weights: Floats) -> Floats:
        points = [weight * _points(proba) for weight, proba in zip(weights, members, strict=True)]
        return with_an_undecided_voter(np.sum(points, axis=0), voters=len(weights))


def _points(proba: Floats) -> Floats:
    """Return points from 0 for the least probable class to K - 1 for the most probable, scaled so that a row sums to
    1."""
    k = proba.shape[1]
    points: Floats = (rankdata(proba, axis=1) - 1) / (k * (k - 1) / 2)
    return points
