"""What every combiner is: a pure fit from out-of-fold probabilities and labels to a `Combination`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibrator import calibrator_of, fit_each
from quorate.ensemble.combination import AS_IT_IS, Combination
from quorate.ensemble.copies import divided, together
from quorate.ensemble.dependence import Dependence
from quorate.ensemble.objectives import Objective
from quorate.registry import CALIBRATIONS, COMBINERS, KindParams, kind_of

P_co = TypeVar("P_co", bound=KindParams, covariant=True)


class CalibratingParams(KindParams):
    """The parameters of a combiner that calibrates."""

    calibration: kind_of(CALIBRATIONS) = "temperature"  # type: ignore[valid-type]
    """Of each member, before pooling."""
    final: kind_of(CALIBRATIONS) = "temperature"  # type: ignore[valid-type]
    """Of the pooled probabilities: an average of calibrated members is not sure enough of itself."""


class WeighingParams(CalibratingParams):
    """The parameters of a combiner that chooses how much each member weighs."""

    copies: Literal["together", "apart"] = "together"
    """Whether copies of one recipe, without `vary`, count the same: they differ in their seed alone, and what tells
    them apart on the rows at hand is mostly noise. `apart` weighs each on its own."""


@dataclass(frozen=True)
class Combiner(ABC, Generic[P_co]):
    """A kind of combiner with its parameters; registered in `quorate.registry.COMBINERS`."""

    Params: ClassVar[type[KindParams]]
    simplicity: ClassVar[int] = 100
    """Its place among combiners that are equally good: the lower one is preferred."""
    params: P_co
    recipes: tuple[str, ...] | None = None
    """Of each member, what it is a copy of; None where nothing is known of that."""

    @abstractmethod
    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        """The combination for probabilities (M, N, K) and labels (N,); equal inputs give equal bits."""

    def fit_dependent(self, *, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> Combination:
        """As `fit`, for rows that may belong together or follow each other.

        A kind that splits the rows itself overrides it and splits them by `dependence`: otherwise what it chooses is
        judged on rows whose relatives it has seen.
        """
        return self.fit(proba=proba, y=y, seed=seed)

    def of(self, members: Sequence[int]) -> Self:
        """The combiner for these of its members alone."""
        if self.recipes is None:
            return self
        return replace(self, recipes=tuple(self.recipes[member] for member in members))

    def weigh(self, members: Iterable[Floats], choose: Callable[..., Floats]) -> Floats:
        """The weights (M,) that `choose(members=…)` gives to calibrated members, or to recipes and so to copies."""
        if self.recipes is None or getattr(self.params, "copies", "apart") == "apart":
            return choose(members=members)
        return divided(choose(members=together(members, self.recipes)), self.recipes)

    @property
    def objective(self) -> Objective:
        """What the combination is asked to be good at."""
        return getattr(self.params, "objective", "nll")

    @staticmethod
    def pool(*, members: Iterable[Floats], weights: Floats) -> Floats:
        """The calibrated `members`, each (n, K), as one (n, K); `weights` are positive and sum to 1.

        The arithmetic mean, read member by member; a kind that pools otherwise overrides it.
        """
        pooled: Floats | None = None
        for weight, proba in zip(weights, members, strict=True):
            weighted = np.multiply(proba, weight)
            pooled = weighted if pooled is None else np.add(pooled, weighted, out=pooled)
        assert pooled is not None, "a pool has at least one member"
        return pooled


class EqualWeightCombiner(Combiner[P_co]):
    """Every member counts the same, calibrated as the parameters say; kinds differ in how they pool."""

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        assert isinstance(self.params, CalibratingParams), "a combiner that calibrates"
        members, kind = len(proba), self.params.kind
        calibrations = fit_each(self.params.calibration, proba=proba, y=y)
        combination = Combination(kind, np.full(members, 1 / members), calibrations)
        return with_final_calibration(combination, proba=proba, y=y, final=self.params.final)


def combiner_of(
    params: KindParams,
    candidates: Iterable[Mapping[str, Any]] | None = None,
    *,
    recipes: Sequence[str] | None = None,
) -> Combiner[KindParams]:
    """The combiner with these parameters, or the one that it has chosen among a leaderboard's `candidates`.

    `recipes` are those of its members.
    """
    chosen = next((each["name"] for each in candidates or () if each["chosen"]), None)
    params = next((each for each in getattr(params, "candidates", ()) if each.kind == chosen), params)
    made: Combiner[KindParams] = COMBINERS.get(params.kind)(params, None if recipes is None else tuple(recipes))
    return made


def with_an_undecided_voter(shares: Floats, *, voters: int) -> Floats:
    """Shares of votes (n, K) once one more voter has divided its vote among all classes: none is left at 0."""
    pooled: Floats = (voters * shares + 1 / shares.shape[1]) / (voters + 1)
    return pooled


def with_final_calibration(
    combination: Combination, *, proba: Proba, y: Labels, final: KindParams | None = None
) -> Combination:
    """`combination` with the calibration that its pooled probabilities need, a temperature when left out.

    An average of calibrated members is underconfident (Rahaman and Thiery 2021, "Uncertainty
    quantification and deep ensembles"), so it is calibrated once more after pooling.
    """
    calibrator = calibrator_of(final or KindParams(kind="temperature"))
    pooled = replace(combination, calibration=AS_IT_IS).apply(proba)
    return replace(combination, calibration=calibrator.fit(proba=pooled, y=y))
