"""Figures of an ensemble, and differences of two, with the 95 % intervals that so many test rows allow."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble import metrics
from quorate.ensemble.arrays import Floats, Labels, Mask, Proba
from quorate.ensemble.paired import standard_error
from quorate.ensemble.ranking import average_precision, rank, roc_auc

LEVEL = 0.95
RESAMPLES = 1000
Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

_CELLS = 400_000
"""Numbers in the table of one chunk of resamples."""


@dataclass(frozen=True)
class Figure:
    """A figure and its interval; None where the rows cannot tell, as for one class only."""

    value: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        return asdict(self)

    @property
    def holds_zero(self) -> bool:
        """Whether a difference is within its noise."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


def figures(
    proba: Proba, y: Labels, *, groups: Labels | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Figure]:
    """accuracy, nll, ece and brier of probabilities (N, K); for two classes roc_auc and average_precision too.

    The interval of the accuracy is Wilson's (1927), the others' are percentiles of `resamples`
    bootstrap samples of the rows (Efron, 1979). A sample adds noise of its own to the calibration
    error, which is made of absolute values and grows by it, often beyond the value itself: its samples
    are moved so that their mean is the value. The second class is the positive one.

    With `groups` (N,) whole groups are drawn, and Wilson's interval is that of as many independent rows as would have
    the accuracy's cluster-robust error. All limits but the accuracy's are None where there is one group.
    """
    found = metrics.scores(proba, y)
    answers = proba.argmax(axis=1) == y
    accuracy = wilson_of_groups(answers, groups)
    if proba.shape[1] == 2:
        order = np.argsort(-proba[:, 1], kind="stable")  # as ranking figures need them
        proba, y, groups = proba[order], y[order], None if groups is None else groups[order]
    drawn = _bootstrap(proba, y, groups, resamples, seed)
    whole = _rankings(proba, y, np.ones((1, len(y))))
    values = found | {name: _known(value[0]) for name, value in whole.items()}
    drawn["ece"] = np.maximum(drawn["ece"] - drawn["ece"].mean() + found["ece"], 0.0)
    intervals = {name: Figure(values[name], *_percentiles(samples)) for name, samples in drawn.items()}
    return {"accuracy": Figure(found["accuracy"], *accuracy), **intervals}


def paired(
    first: Proba,
    second: Proba,
    y: Labels,
    *,
    groups: Labels | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Figure]:
    """accuracy, nll and brier of the first probabilities (N, K) less those of the second, on the same rows.

    Percentiles of bootstrap samples of the rows, which both are asked about: what they find equally hard does not widen
    the interval (Efron and Tibshirani, 1993, chapter 16). With `groups` (N,) whole groups are drawn (the cluster
    bootstrap; Davison and Hinkley, 1997, section 3.8); the limits are None where there is one group. Raises
    `ValueError` for other shapes.
    """
    if first.shape != second.shape:
        raise ValueError(f"the shapes are {first.shape} and {second.shape}")
    by_row = {
        "accuracy": (first.argmax(axis=1) == y).astype(np.float64) - (second.argmax(axis=1) == y),
        "nll": metrics.row_nll(first, y) - metrics.row_nll(second, y),
        "brier": metrics.row_brier(first, y) - metrics.row_brier(second, y),
    }
    table, rng = np.column_stack(list(by_row.values())), np.random.default_rng(seed)
    place = _places(len(y), groups)
    means = np.concatenate([_means(_draw(rng, size, place), table) for size in _chunks(resamples, len(y))])
    if place.max() == 0:
        means[:] = np.nan
    return {
        name: Figure(float(values.mean()), *_percentiles(means[:, column]))
        for column, (name, values) in enumerate(by_row.items())
    }


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson, 1927)."""
    return _wilson(right / total, total)


def _wilson(share: float, total: float) -> tuple[float, float]:
    z2 = Z**2 / total
    centre = (share + z2 / 2) / (1 + z2)
    half = Z * np.sqrt(share * (1 - share) / total + z2 / (4 * total)) / (1 + z2)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def wilson_of_groups(right: Mask, groups: Labels | None) -> tuple[float, float]:
    """The 95 % interval of the share of rows (N,) that are `right`, of `groups` (N,).

    Wilson's for the effective number of rows: as many independent rows as would give the share its cluster-robust
    standard error, at most N (Dean and Pagano, 2015, "Evaluating confidence interval methods for binomial proportions
    in clustered surveys"). Where the error is 0, as when all rows are right, or unknown, it is the number of groups.
    """
    if groups is None:
        return wilson(int(right.sum()), len(right))
    share, count = float(right.mean()), len(np.unique(groups))
    error = standard_error(right.astype(np.float64), groups=groups)
    # Like the variance of a row's answer, without the factor G / (G - 1): groups of one row each count as N rows.
    variance = error**2 * (count - 1) / count
    effective = share * (1 - share) / variance if 0 < error < np.inf else count
    return _wilson(share, min(effective, len(right)))


def _bootstrap(proba: Proba, y: Labels, groups: Labels | None, resamples: int, seed: int) -> dict[str, Floats]:
    """The figures of each resample (resamples,), NaN where there is one group."""
    n, rng, place = len(y), np.random.default_rng(seed), _places(len(y), groups)
    parts = np.column_stack([metrics.row_nll(proba, y), metrics.row_brier(proba, y), metrics.row_gaps(proba, y)])
    chunks: dict[str, list[Floats]] = {}
    for size in _chunks(resamples, n):
        weights = _draw(rng, size, place)
        means = _means(weights, parts)
        drawn = {"nll": means[:, 0], "ece": np.abs(means[:, 2:]).sum(axis=1), "brier": means[:, 1]}
        for name, samples in (drawn | _rankings(proba, y, weights)).items():
            chunks.setdefault(name, []).append(samples)
    unknown = place.max() == 0
    return {
        name: np.full(resamples, np.nan) if unknown else np.concatenate(samples) for name, samples in chunks.items()
    }


def _places(rows: int, groups: Labels | None) -> NDArray[np.intp]:
    """The number of each row's group (N,), from 0; each row is one where there are no groups."""
    return np.arange(rows) if groups is None else np.unique(groups, return_inverse=True)[1]


def _means(weights: Floats, table: Floats) -> Floats:
    """The weighted means (B, columns) of a table's rows (N, columns), by `weights` (B, N)."""
    means: Floats = weights @ table / weights.sum(axis=1, keepdims=True)
    return means


def _chunks(resamples: int, n: int) -> list[int]:
    """How many resamples of n rows are drawn at once."""
    at_once = max(1, _CELLS // n)
    return [min(at_once, resamples - start) for start in range(0, resamples, at_once)]


def _draw(rng: np.random.Generator, samples: int, place: NDArray[np.intp]) -> Floats:
    """How often each row (N,), whose group has the number `place` (N,), is in each bootstrap sample (samples, N).

    A sample has as many groups as there are; so it has N rows on average, and just N where groups are equally large.
    """
    n = int(place.max()) + 1
    drawn = rng.integers(0, n, (samples, n)) + np.arange(samples)[:, None] * n
    counts = np.bincount(drawn.ravel(), minlength=samples * n).reshape(samples, n).astype(np.float64)
    return counts if np.array_equal(place, np.arange(n)) else counts[:, place]


def _rankings(proba: Proba, y: Labels, weights: Floats) -> dict[str, Floats]:
    """What only two classes have, of rows in the order of their scores, for each of the samples `weights` (B, N)."""
    if proba.shape[1] != 2:
        return {}
    ranked = rank(score=proba[:, 1].astype(np.float64), positive=np.asarray(y == 1), weights=weights)
    return {"roc_auc": roc_auc(ranked), "average_precision": average_precision(ranked)}


def _percentiles(samples: Floats) -> tuple[float | None, float | None]:
    known = samples[~np.isnan(samples)]
    if not known.size:
        return None, None
    low, high = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
