"""Plurality voting: each member votes for one class."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from quorate.ensemble.arrays import Floats
from quorate.ensemble.combiner import CalibratingParams, EqualWeightCombiner, with_an_undecided_voter
from quorate.registry import CALIBRATIONS, COMBINERS, kind_of


class VoteParams(CalibratingParams):
    kind: str = "vote"
    calibration: kind_of(CALIBRATIONS) = "none"  # type: ignore[valid-type]
    """Calibration of each member before it votes."""


@COMBINERS.register("vote")
class Vote(EqualWeightCombiner[VoteParams]):
    """The fraction of the members that vote for each class, with one additional vote that is split evenly among the
    classes."""

    Params = VoteParams
    simplicity = 4

    @staticmethod
    def pool(*, members: Iterable[Floats], weights: Floats) -> Floats:
        votes = [weight * _ballot(proba) for weight, proba in zip(weights, members, strict=True)]
        return with_an_undecided_voter(np.sum(votes, axis=0), voters=len(weights))


def _ballot(proba: Floats) -> Floats:
    one_hot: Floats = np.eye(proba.shape[1])[proba.argmax(axis=1)]
    return one_hot
