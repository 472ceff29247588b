"""What every combiner is: a pure fit from out-of-fold probabilities and labels to a `Combination`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, TypeVar

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibration import fit_temperature
from quorate.ensemble.combination import Combination
from quorate.kinds import KindParams

P_co = TypeVar("P_co", bound=KindParams, covariant=True)


@dataclass(frozen=True)
class Combiner(ABC, Generic[P_co]):
    """A kind of combiner with its parameters; registered in `quorate.kinds.COMBINERS`."""

    Params: ClassVar[type[KindParams]]
    params: P_co

    @abstractmethod
    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        """The combination for probabilities (M, N, K) and labels (N,); equal inputs give equal bits."""

    @staticmethod
    def pool(*, members: Iterable[Floats], weights: Floats) -> Floats:
        """The tempered `members`, each (n, K), as one (n, K); `weights` are positive and sum to 1.

        The arithmetic mean, read member by member; a kind that pools otherwise overrides it.
        """
        pooled: Floats | None = None
        for weight, proba in zip(weights, members, strict=True):
            weighted = np.multiply(proba, weight)
            pooled = weighted if pooled is None else np.add(pooled, weighted, out=pooled)
        assert pooled is not None, "a pool has at least one member"
        return pooled


def with_final_temperature(combination: Combination, *, proba: Proba, y: Labels) -> Combination:
    """`combination` with the temperature that its pooled probabilities need.

    An average of calibrated members is underconfident (Rahaman and Thiery 2021, "Uncertainty
    quantification and deep ensembles"), so it is calibrated once more after pooling.
    """
    pooled = replace(combination, temperature=1.0).apply(proba)
    return replace(combination, temperature=fit_temperature(proba=pooled, y=y))
