"""Base classes of combiners, which are fitted on out-of-fold probabilities and labels and return a `Combination`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.calibrator import calibrator_of, fit_each
from quorate.ensemble.combination import AS_IT_IS, Combination
from quorate.ensemble.copies import divided, together
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.objectives import Objective
from quorate.registry import CALIBRATIONS, COMBINERS, KindParams, kind_of

P_co = TypeVar("P_co", bound=KindParams, covariant=True)


class CalibratingParams(KindParams):
    """Parameters of a combiner that calibrates."""

    calibration: kind_of(CALIBRATIONS) = "temperature"  # type: ignore[valid-type]
    """Calibration of each member before pooling."""
    final: kind_of(CALIBRATIONS) = "temperature"  # type: ignore[valid-type]
    """Calibration of the pooled probabilities: an average of calibrated members is underconfident."""


class WeighingParams(CalibratingParams):
    """Parameters of a combiner that chooses the members' weights."""

    copies: Literal["together", "apart"] = "together"
    """`together` gives the copies of one recipe (without `vary`) equal weights, because their differences on these rows
    are mostly noise from their seeds; `apart` weights each copy separately."""


@dataclass(frozen=True)
class Combiner(ABC, Generic[P_co]):
    """A kind of combiner with its parameters, registered in `quorate.registry.COMBINERS`."""

    Params: ClassVar[type[KindParams]]
    simplicity: ClassVar[int] = 100
    """Rank among equally good combiners; the one with the lowest rank is preferred."""
    params: P_co
    recipes: tuple[str, ...] | None = None
    """The recipe of each member, shared by its copies; None if unknown."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Raise `TypeError` if a subclass overrides `fit` where its base calls only `fit_dependent`."""
        super().__init_subclass__(**options)
        if "fit" in vars(cls) and "fit_dependent" not in vars(cls) and cls.fit_dependent is not Combiner.fit_dependent:
            base = cls.__mro__[1].__name__
            raise TypeError(
                f"{cls.__name__} overrides fit, which a job does not call, because {base} has a fit_dependent; "
                "override fit_dependent(self, *, proba, y, seed, dependence) instead"
            )

    @abstractmethod
    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        """Fit a combination to probabilities (M, N, K) and labels (N,). Equal inputs give bit-identical results."""

    def fit_dependent(self, *, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> Combination:
        """Fit like `fit`, on rows that may belong to groups or be ordered in time.

        A kind that splits the rows itself must override this and split them by `dependence`. Otherwise it evaluates its
        choices on rows that depend on those it was fitted on.
        """
        return self.fit(proba=proba, y=y, seed=seed)

    def of(self, members: Sequence[int]) -> Self:
        """Return the combiner for only these of its members."""
        if self.recipes is None:
            return self
        return replace(self, recipes=tuple(self.recipes[member] for member in members))

    def weigh(self, members: Iterable[Floats], choose: Callable[..., Floats]) -> Floats:
        """Return the weights (M,) that `choose(members=…)` gives to calibrated members. With `copies: together`, it
        weights the mean of each recipe's copies, and the copies share the weight equally."""
        if self.recipes is None or not isinstance(self.params, WeighingParams) or self.params.copies == "apart":
            return choose(members=members)
        return divided(choose(members=together(members, self.recipes)), self.recipes)

    @property
    def chooses_weights(self) -> bool:
        """Whether the combination could have been any single member, had its weights been the best."""
        return isinstance(self.params, WeighingParams)

    @property
    def objective(self) -> Objective:
        """The metric that the combination optimizes; log-loss unless a kind has a parameter for it."""
        return "nll"

    @property
    def member_calibration(self) -> KindParams | None:
        """The calibration of each member before pooling; None if the kind has no parameter for it."""
        return self.params.calibration if isinstance(self.params, CalibratingParams) else None

    def candidate(self, kind: str) -> KindParams:
        """Return the parameters of the candidate of this kind, if the combiner chooses among several.

        Other combiners return their own parameters.
        """
        return self.params

    @staticmethod
    def pool(*, members: Iterable[Floats], weights: Floats) -> Floats:
        """Pool the calibrated `members`, each (n, K), into one (n, K); `weights` are positive and sum to 1.

        The default is the arithmetic mean, computed member by member. A kind with another pooling overrides it.
        """
        pooled: Floats | None = None
        for weight, proba in zip(weights, members, strict=True):
            weighted = np.multiply(proba, weight)
            pooled = weighted if pooled is None else np.add(pooled, weighted, out=pooled)
        assert pooled is not None, "a pool has at least one member"
        return pooled


class EqualWeightCombiner(Combiner[P_co]):
    """A combiner with equal weights, and with the calibrations that its parameters name. Kinds differ in their
    pooling."""

    def fit(self, *, proba: Proba, y: Labels, seed: int) -> Combination:
        return self.fit_dependent(proba=proba, y=y, seed=seed, dependence=INDEPENDENT)

    def fit_dependent(self, *, proba: Proba, y: Labels, seed: int, dependence: Dependence) -> Combination:
        assert isinstance(self.params, CalibratingParams), "a combiner that calibrates"
        members, kind = len(proba), self.params.kind
        calibrations = fit_each(self.params.calibration, proba=proba, y=y, dependence=dependence)
        combination = Combination(kind, np.full(members, 1 / members), calibrations)
        return with_final_calibration(combination, proba=proba, y=y, final=self.params.final, dependence=dependence)


def combiner_of(
    params: KindParams, chosen: str | None = None, *, recipes: Sequence[str] | None = None
) -> Combiner[KindParams]:
    """Create the combiner with these parameters, or, if it has `chosen` one of its candidates, that candidate.
    `recipes` are the recipes of its members.
    """
    of = None if recipes is None else tuple(recipes)
    made: Combiner[KindParams] = COMBINERS.get(params.kind)(params, of)
    if chosen is not None:
        other = made.candidate(chosen)
        made = COMBINERS.get(other.kind)(other, of)
    return made


def with_an_undecided_voter(shares: Floats, *, voters: int) -> Floats:
    """Return the vote shares (n, K) with one more voter, whose vote is split evenly among the classes so that none has
    0."""
    pooled: Floats = (voters * shares + 1 / shares.shape[1]) / (voters + 1)
    return pooled


def with_final_calibration(
    combination: Combination,
    *,
    proba: Proba,
    y: Labels,
    final: KindParams | None = None,
    dependence: Dependence = INDEPENDENT,
) -> Combination:
    """Add a calibration of the pooled probabilities to `combination`; by default a temperature.

    An average of calibrated members is underconfident (Rahaman and Thiery 2021, "Uncertainty quantification and deep
    ensembles"), so it is calibrated once more after pooling.
    """
    calibrator = calibrator_of(final or KindParams(kind="temperature"))
    pooled = replace(combination, calibration=AS_IT_IS).apply(proba)
    return replace(combination, calibration=calibrator.fit_dependent(proba=pooled, y=y, dependence=dependence))
