"""Metrics of an ensemble, and differences between two ensembles, with 95 % confidence intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble import metrics
from quorate.ensemble.arrays import Floats, Labels, Mask, Proba
from quorate.ensemble.paired import Z, standard_error
from quorate.ensemble.ranking import average_precision, rank, roc_auc

LEVEL = 0.95
"""Confidence level of the intervals: a convention."""
SEED = 0
"""Seed of the bootstrap samples, so that equal inputs have equal intervals."""
RESAMPLES = 1000
"""Number of bootstrap samples: a usual number for percentile intervals (Efron and Tibshirani, 1993, chapter 13)."""

_CELLS = 400_000
"""Maximum number of weights in one chunk of bootstrap samples (3.2 MB in float64). An assumption, not a measurement."""


@dataclass(frozen=True)
class Figure:
    """A value and its interval; each is None if the rows do not determine it, as with a single class."""

    value: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        return asdict(self)

    @property
    def holds_zero(self) -> bool:
        """Whether the interval contains zero, so that the difference is within its noise."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


def figures(proba: Proba, y: Labels, *, groups: Labels | None = None, resamples: int = RESAMPLES) -> dict[str, Figure]:
    """Compute accuracy, nll, ece and brier of probabilities (N, K); for two classes also roc_auc and average_precision.

    For two classes, the second class is the positive one. The interval of the accuracy is Wilson's (1927). The others
    are percentiles over `resamples` bootstrap samples of the rows (Efron, 1979). The calibration error is a sum of
    absolute values, so bootstrap noise inflates it, often beyond the estimate itself; its bootstrap values are
    therefore shifted so that their mean equals the estimate.

    With `groups` (N,), the bootstrap draws whole groups, and Wilson's interval uses the effective number of rows (see
    `wilson_of_groups`). With one group, all limits except those of the accuracy are None.
    """
    found = metrics.scores(proba, y)
    answers = proba.argmax(axis=1) == y
    accuracy = wilson_of_groups(answers, groups)
    if proba.shape[1] == 2:
        order = np.argsort(-proba[:, 1], kind="stable")  # the ranking metrics need this order
        proba, y, groups = proba[order], y[order], None if groups is None else groups[order]
    drawn = _bootstrap(proba, y, groups, resamples)
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
) -> dict[str, Figure]:
    """Return accuracy, nll and brier of the first probabilities (N, K) minus those of the second, on the same rows.

    The intervals are percentiles of bootstrap samples of the rows. Both ensembles are scored on the same samples, so
    the varying difficulty of rows does not widen the interval (Efron and Tibshirani, 1993, chapter 16). With `groups`
    (N,) whole groups are drawn (the cluster bootstrap; Davison and Hinkley, 1997, section 3.8); with one group the
    limits are None. Raises `ValueError` if the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"the probabilities must have the same shape, not {first.shape} and {second.shape}")
    by_row = {
        "accuracy": (first.argmax(axis=1) == y).astype(np.float64) - (second.argmax(axis=1) == y),
        "nll": metrics.row_nll(first, y) - metrics.row_nll(second, y),
        "brier": metrics.row_brier(first, y) - metrics.row_brier(second, y),
    }
    table, rng = np.column_stack(list(by_row.values())), np.random.default_rng(SEED)
    place = _places(len(y), groups)
    means = np.concatenate([_means(_draw(rng, size, place), table) for size in _chunks(resamples, len(y))])
    if place.max() == 0:
        means[:] = np.nan
    return {
        name: Figure(float(values.mean()), *_percentiles(means[:, column]))
        for column, (name, values) in enumerate(by_row.items())
    }


def wilson(right: int, total: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson, 1927)."""
    return _wilson(right / total, total)


def _wilson(share: float, total: float) -> tuple[float, float]:
    z2 = Z**2 / total
    centre = (share + z2 / 2) / (1 + z2)
    half = Z * np.sqrt(share * (1 - share) / total + z2 / (4 * total)) / (1 + z2)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def wilson_of_groups(right: Mask, groups: Labels | None) -> tuple[float, float]:
    """Return the 95 % confidence interval of the fraction of rows that are `right` (N,), for rows in `groups` (N,).

    This is Wilson's interval with the effective number of rows: the number of independent rows, at most N, for which
    the fraction would have the same standard error as the cluster-robust one (Dean and Pagano, 2015, "Evaluating
    confidence interval methods for binomial proportions in clustered surveys"). The number of groups is used instead if
    the standard error is unknown, or if it is 0, for example because all rows are right.
    """
    if groups is None:
        return wilson(int(right.sum()), len(right))
    share, count = float(right.mean()), len(np.unique(groups))
    error = standard_error(right.astype(np.float64), groups=groups)
    # Like the variance of one row's correctness, without the factor G / (G - 1): groups of one row each count as N
    # rows.
    variance = error**2 * (count - 1) / count
    effective = share * (1 - share) / variance if 0 < error < np.inf else count
    return _wilson(share, min(effective, len(right)))


def _bootstrap(proba: Proba, y: Labels, groups: Labels | None, resamples: int) -> dict[str, Floats]:
    """Compute the metrics of each resample (resamples,); NaN with one group."""
    n, rng, place = len(y), np.random.default_rng(SEED), _places(len(y), groups)
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
    """Return the number of each row's group (N,), from 0; without groups each row is its own group."""
    return np.arange(rows) if groups is None else np.unique(groups, return_inverse=True)[1]


def _means(weights: Floats, table: Floats) -> Floats:
    """Return the means (B, columns) of a table's rows (N, columns), weighted by each of the `weights` (B, N)."""
    means: Floats = weights @ table / weights.sum(axis=1, keepdims=True)
    return means


def _chunks(resamples: int, n: int) -> list[int]:
    """Return the number of bootstrap samples of n rows in each chunk."""
    at_once = max(1, _CELLS // n)
    return [min(at_once, resamples - start) for start in range(0, resamples, at_once)]


def _draw(rng: np.random.Generator, samples: int, place: NDArray[np.intp]) -> Floats:
    """Return how often each row (N,) is in each bootstrap sample (samples, N); `place` (N,) is the row's group number.

    Each sample draws as many groups as there are. It has N rows on average, and exactly N if the groups are equally
    large.
    """
    n = int(place.max()) + 1
    drawn = rng.integers(0, n, (samples, n)) + np.arange(samples)[:, None] * n
    counts = np.bincount(drawn.ravel(), minlength=samples * n).reshape(samples, n).astype(np.float64)
    return counts if np.array_equal(place, np.arange(n)) else counts[:, place]


def _rankings(proba: Proba, y: Labels, weights: Floats) -> dict[str, Floats]:
    """Compute the ranking metrics of two classes for each of the samples `weights` (B, N); the rows are sorted by
    score."""
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
