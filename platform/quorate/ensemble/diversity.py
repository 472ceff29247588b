"""Diversity of members: per pair, over all members, and as the ambiguity of their average.

The measures of Kuncheva and Whitaker 2003, "Measures of diversity in classifier ensembles and their relationship with
the ensemble accuracy", on the rows (N,) that all members cover.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.temperature_scaling import normalized_rows


@dataclass(frozen=True, eq=False)
class Pairs:
    """Measures of each pair of members, symmetric (M, M)."""

    disagreement: Floats
    """Fraction of the rows for which the two predict different classes; 0 on the diagonal."""
    double_fault: Floats
    """Fraction of the rows that both predict wrongly; on the diagonal, the member's own error rate."""
    q: Floats
    """Yule's Q of correctness: 1 if one member's errors include all of the other's, 0 if independent, -1 if the two are
    never both right or never both wrong; NaN if undefined."""
    correlation: Floats
    """Correlation of correctness, -1 to 1; NaN if a member is always right or always wrong."""
    kappa: Floats
    """Cohen's kappa, the agreement on correctness beyond chance, at most 1; NaN if a member is always right or always
    wrong."""


def pairs(*, proba: Proba, y: Labels) -> Pairs:
    """Compute the measures of all pairs of members (M, N, K) for labels (N,)."""
    predicted = proba.argmax(axis=2)
    right = (predicted == y).astype(np.float64)
    rows = len(y)
    both = right @ right.T / rows  # fraction of the rows, as all quantities below
    neither = (1 - right) @ (1 - right).T / rows
    only_first = right @ (1 - right).T / rows
    only_second = only_first.T
    agreement = both * neither - only_first * only_second
    alone = right.mean(axis=1)
    variance = alone * (1 - alone)
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = np.add.outer(alone, alone) - 2 * np.outer(alone, alone)
        return Pairs(
            disagreement=np.array([(predicted != each).mean(axis=1) for each in predicted]),
            double_fault=neither,
            q=agreement / (both * neither + only_first * only_second),
            correlation=agreement / np.sqrt(np.outer(variance, variance)),
            kappa=np.where(np.outer(variance, variance) > 0, 2 * agreement / chance, np.nan),
        )


@dataclass(frozen=True)
class Ambiguity:
    """The decomposition of an average's loss: the mean loss of its members minus the ambiguity."""

    members: float
    """Weighted mean loss of the members."""
    ambiguity: float
    """Loss saved by averaging; never negative."""

    @property
    def ensemble(self) -> float:
        return self.members - self.ambiguity


def brier_ambiguity(*, proba: Proba, weights: Floats, y: Labels) -> Ambiguity:
    """Decompose the Brier score of the arithmetic mean; the ambiguity is the members' weighted variance around their
    mean.

    Krogh and Vedelsby 1995, "Neural network ensembles, cross validation, and active learning", equation 6.
    """
    members = np.array([normalized_rows(member) for member in proba])
    mean = np.tensordot(weights, members, axes=1)
    target = np.eye(members.shape[2])[y]
    losses = ((members - target) ** 2).sum(axis=2).mean(axis=1)
    spread = ((members - mean) ** 2).sum(axis=2).mean(axis=1)
    return Ambiguity(float(weights @ losses), float(weights @ spread))
