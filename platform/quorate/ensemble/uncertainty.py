"""Uncertainty of an ensemble for each row, split into uncertainty in the data and disagreement between the members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.arrays import Floats, Proba
from quorate.ensemble.temperature_scaling import normalized_rows


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Uncertainty of each row (n,): three entropies in nats, at most log K, and the variation ratio, a fraction."""

    entropy: Floats
    """Total uncertainty, the entropy of the members' weighted mean: aleatoric + epistemic."""
    aleatoric: Floats
    """The members' mean entropy: the uncertainty within each member."""
    epistemic: Floats
    """The mutual information of the class and the member: the members' disagreement, never negative."""
    variation_ratio: Floats
    """Weighted fraction of the members that do not predict the majority class (Freeman, 1965)."""


def uncertainty_of(*, members: Sequence[Proba] | Proba, weights: Floats) -> Uncertainty:
    """Compute the uncertainty of calibrated members (M, n, K) with weights (M,) that sum to 1.

    Depeweg et al. 2018, "Decomposition of uncertainty in Bayesian deep learning", equations 3 and 4.
    """
    mean = np.zeros(members[0].shape)
    votes = np.zeros_like(mean)
    aleatoric = np.zeros(len(mean))
    rows = np.arange(len(mean))
    for weight, member in zip(weights, members, strict=True):
        p = normalized_rows(member)
        mean += weight * p
        aleatoric += weight * entropy(p)
        votes[rows, p.argmax(axis=1)] += weight
    total = entropy(mean)
    return Uncertainty(total, aleatoric, np.maximum(total - aleatoric, 0.0), np.maximum(1 - votes.max(axis=1), 0.0))


def joined(parts: Sequence[Uncertainty]) -> Uncertainty:
    """Concatenate the rows of all parts, in order."""
    return Uncertainty(*(np.concatenate([vars(part)[field.name] for part in parts]) for field in fields(Uncertainty)))


def scattered(whole: Uncertainty | None, part: Uncertainty, rows: NDArray[np.int64], *, total: int) -> Uncertainty:
    """Write `part` to the positions `rows` of `whole`, with `total` rows; without a `whole` the other rows are NaN."""
    filled = []
    for field in fields(Uncertainty):
        values = np.full(total, np.nan) if whole is None else vars(whole)[field.name]
        values[rows] = vars(part)[field.name]
        filled.append(values)
    return Uncertainty(*filled)


def entropy(proba: Proba) -> Floats:
    """Return the Shannon entropy of each row (n, K), in nats."""
    p = np.asarray(proba, np.float64)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    found: Floats = -(p * logs).sum(axis=1)
    return found
