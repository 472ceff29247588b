"""Measure what each member contributes, and which members can be removed, by cross-fitting ensembles without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Mask, Proba
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.crossfit import CROSSFIT_PARTS, Split, crossfitted, parts_of
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.metrics import row_nll
from quorate.ensemble.paired import paired_difference
from quorate.registry import KindParams


@dataclass(frozen=True)
class EnsembleChange:
    """The change of an ensemble relative to another on the same rows, with standard errors of the paired difference.

    A positive change of `nll`, in nats, is worse; a positive change of `accuracy` is better.
    """

    nll: float
    nll_error: float
    accuracy: float
    accuracy_error: float


@dataclass(frozen=True, eq=False)
class EnsembleEstimate:
    """The cross-fitted log-losses (N,) of an ensemble, and whether each row is right (N,)."""

    losses: Floats
    right: Mask
    groups: Labels | None = None
    """The group of each row (N,), for the standard errors."""

    def against(self, other: EnsembleEstimate) -> EnsembleChange:
        losses = paired_difference(self.losses, other.losses, groups=self.groups)
        right = paired_difference(self.right.astype(np.float64), other.right.astype(np.float64), groups=self.groups)
        return EnsembleChange(losses.mean, losses.standard_error, right.mean, right.standard_error)


@dataclass(frozen=True, eq=False)
class PrunedEnsemble:
    """An ensemble of the members at the positions `left`, and its change relative to the whole ensemble."""

    left: tuple[int, ...]
    cost: float
    estimate: EnsembleEstimate
    change: EnsembleChange


@dataclass(frozen=True, eq=False)
class Ablation:
    """Estimates of ensembles that lack some of the members (M, N, K), for labels (N,) and one combiner."""

    proba: Proba
    y: Labels
    combiner: Combiner[KindParams]
    parts: Sequence[Split]
    seed: int
    dependence: Dependence = INDEPENDENT

    @classmethod
    def of(
        cls,
        *,
        proba: Proba,
        y: Labels,
        combiner: Combiner[KindParams],
        seed: int,
        dependence: Dependence = INDEPENDENT,
    ) -> Ablation:
        """Create it with the same cross-fitting parts that `assemble` uses for these labels, seed and dependence."""
        parts = list(parts_of(y, splits=CROSSFIT_PARTS, seed=seed, dependence=dependence))
        return cls(proba, y, combiner, parts, seed, dependence)

    def estimate(self, members: Sequence[int]) -> EnsembleEstimate:
        """Estimate the ensemble of these members; for each part of the rows, it is fitted anew on the other rows."""
        proba = self.proba[list(members)]
        found = crossfitted(
            self.combiner.of(members).fit_dependent,
            proba=proba,
            y=self.y,
            parts=self.parts,
            seed=self.seed,
            dependence=self.dependence,
        )
        return EnsembleEstimate(
            row_nll(found, self.y), np.asarray(found.argmax(axis=1) == self.y), self.dependence.groups
        )

    def without_each(self) -> list[EnsembleChange]:
        """Return the change from removing each member; the increase of the log-loss is the member's contribution."""
        everyone = range(len(self.proba))
        whole = self.estimate(everyone)
        return [self.estimate([m for m in everyone if m != gone]).against(whole) for gone in everyone]

    def eliminate(self, costs: Floats, *, by_cost: bool = True) -> Iterator[PrunedEnsemble]:
        """Yield smaller and smaller ensembles, from the whole one to a single member (backward elimination).

        With `by_cost`, each step removes the member whose removal raises the loss least per unit of `costs` (M,) saved.
        Among members whose removal does not raise the loss, it removes the most expensive one. Without `by_cost`, each
        step removes the member whose removal gives the lowest loss.
        """
        left = tuple(range(len(self.proba)))
        whole = self.estimate(left)
        step = PrunedEnsemble(left, float(costs.sum()), whole, whole.against(whole))
        yield step
        while len(left) > 1:
            trials = []
            for gone in left:
                rest = tuple(m for m in left if m != gone)
                estimate = self.estimate(rest)
                trials.append(
                    (gone, PrunedEnsemble(rest, float(costs[list(rest)].sum()), estimate, estimate.against(whole)))
                )
            before = step.change.nll
            _, step = min(
                trials, key=lambda trial: _removal_key(trial[1].change.nll - before, costs[trial[0]], by_cost)
            )
            left = step.left
            yield step


def _removal_key(loss: float, saved: float, by_cost: bool) -> tuple[bool, float]:
    """Return the sort key of a removal; the member with the lowest key is removed first."""
    if not by_cost:
        return (False, loss)
    return (False, -saved) if loss <= 0 else (True, loss / max(saved, 1e-12))
