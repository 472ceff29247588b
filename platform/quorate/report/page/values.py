"""What members are worth, counted once for all parts of the page, in a time that a reader will wait."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble import assemble
from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.calibration import apply_temperature, fit_temperature
from quorate.ensemble.calibrator import fit_each
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.crossfit import parts_of
from quorate.ensemble.metrics import row_nll
from quorate.ensemble.paired import Z
from quorate.ensemble.worth import EnsembleChange, EnsembleEstimate, PrunedEnsemble, Worth
from quorate.registry import KindParams
from quorate.report.page.run import RunData, Split

MOST_MEMBERS, MOST_ROWS, LEAST_ROWS = 12, 50_000, 500
LEAST = 0.0005
"""A smaller change of the log-loss, in nats, is left alone, however clear it is."""
TRIALS = (LEAST_ROWS, 4 * LEAST_ROWS)
PATIENCE = 10.0
"""Seconds that taking members away may take; a sample of the rows is asked where all would take longer."""


@dataclass(frozen=True, eq=False)
class BestMember:
    """The best member alone, cross-fitted with a temperature or as it is, whichever is better."""

    place: int
    """In `oof.members`."""
    tempered: bool
    nll: float
    lead: EnsembleChange
    """Of the ensemble over it, on the out-of-fold rows: a fall of the log-loss is a gain."""
    test_lead: EnsembleChange | None


@dataclass(frozen=True, eq=False)
class Values:
    """The weighing members' worth; positions are in `oof.members`."""

    best: BestMember
    members: tuple[int, ...] = ()
    """Those that were asked about, the heaviest first."""
    without: tuple[EnsembleChange, ...] = ()
    """What the ensemble changes without each."""
    path: tuple[PrunedEnsemble, ...] = ()
    """Smaller and smaller ensembles; `left` are positions in `members`."""
    rows: int = 0
    """On so many rows."""
    notes: Sequence[str] = ()
    """What was left out, and why."""


def values_of(run: RunData, *, patience: float = PATIENCE) -> Values:
    """Equal inputs give equal figures unless the combiner is so slow that only a sample of the rows was asked."""
    best = best_single(run)
    everyone = run.weighing
    if run.combiner is None:
        return Values(best, notes=("The job's combiner cannot be loaded here, so members cannot be taken away.",))
    if len(everyone) < 2:
        return Values(best)
    if (groups := run.oof.dependence.groups) is not None and len(np.unique(groups)) < 2:
        said = "All out-of-fold rows are of one group, so the worth of members cannot be compared with its noise."
        return Values(best, notes=(said,))
    try:
        return _taken_away(run, best, everyone, run.combiner, patience)
    except ValueError as error:  # users' own combiners may ask for certain members
        return Values(best, notes=(f"The combiner cannot do with fewer members: {error}.",))


def _taken_away(
    run: RunData, best: BestMember, everyone: list[int], combiner: Combiner[KindParams], patience: float
) -> Values:
    """The worth of the members at these places, on as many rows as there is time for."""
    asked, notes = everyone[:MOST_MEMBERS], []
    if len(everyone) > len(asked):
        notes.append(f"Of the {len(everyone)} members that weigh something, the {len(asked)} heaviest were asked.")
    y, proba = run.oof.y, run.oof.proba[asked]
    rows = _sample(y, MOST_ROWS if len(everyone) == len(asked) else min(MOST_ROWS, 10_000), seed=run.seed)

    def worth_on(some: NDArray[np.int64]) -> Worth:
        return Worth.of(
            proba=proba[:, some],
            y=y[some],
            combiner=combiner.of(asked),
            seed=run.seed,
            dependence=run.oof.dependence.take(some),
        )

    # The line through few rows and some more is followed to all.
    few, some = (rows[_sample(y[rows], most, seed=run.seed)] for most in TRIALS)
    first, second = (_seconds(worth_on(trial)) for trial in (few, some))
    slope = max(second - first, 0.0) / max(len(some) - len(few), 1)
    each = second + slope * (len(rows) - len(some))
    alone, path = each * (len(asked) + 1), each * len(asked) * (len(asked) + 1) / 3
    if alone + path > patience:
        # Halves, so that a little more or less of time gives the same figures.
        fewer = len(rows) >> math.ceil(math.log2((alone + path) / patience))
        sample = rows[_sample(y[rows], max(fewer, LEAST_ROWS), seed=run.seed)]
        alone, path = (seconds * len(sample) / len(rows) for seconds in (alone, path))
        rows = sample
    worth = worth_on(rows)
    if len(rows) < len(y):
        notes.append(f"Members were taken away on a sample of {len(rows):,} of the {len(y):,} rows.")
    if alone > patience:
        notes.append("This combiner is too slow to take members away one by one.")
        return Values(best, tuple(asked), rows=len(rows), notes=tuple(notes))
    without = tuple(worth.without_each())
    steps: tuple[PrunedEnsemble, ...] = ()
    if path <= patience:
        steps = tuple(worth.eliminate(run.seconds[[run.oof.members[place] for place in asked]]))
    else:
        notes.append("This combiner is too slow to take away one member after another.")
    return Values(best, tuple(asked), without, steps, len(rows), tuple(notes))


def best_single(run: RunData) -> BestMember:
    """The member that the leaderboard calls the best, and the ensemble against it."""
    oof, parts = run.oof, list(parts_of(run.oof.y, splits=5, seed=run.seed, dependence=run.oof.dependence))
    temperatures = fit_each(KindParams(kind="temperature"), proba=oof.proba, y=oof.y)
    found = assemble.best_single(oof.proba, oof.y, parts, "nll", temperatures)
    lead = estimated(oof.ensemble, oof).against(estimated(found.proba, oof))
    return BestMember(found.member, found.tempered, found.loss, lead, _test_lead(run, found.member, found.tempered))


def _test_lead(run: RunData, place: int, tempered: bool) -> EnsembleChange | None:
    test, member = run.test, run.oof.members[place]
    if test is None or member not in test.members:
        return None
    alone = test.proba[test.members.index(member)]
    temperature = fit_temperature(proba=run.oof.proba[place], y=run.oof.y) if tempered else 1.0
    alone = apply_temperature(proba=alone, temperature=temperature)
    return estimated(test.ensemble, test).against(estimated(alone, test))


def estimated(proba: Proba, split: Split) -> EnsembleEstimate:
    right = np.asarray(proba.argmax(axis=1) == split.y)
    return EnsembleEstimate(row_nll(proba, split.y), right, split.dependence.groups)


def matters(change: EnsembleChange) -> bool:
    """Whether a change of the log-loss is clear of the noise, and not too small for anybody to mind."""
    return clear(change.nll, change.nll_error) and abs(change.nll) >= LEAST


def clear(mean: float, error: float) -> bool:
    """Whether the 95 % interval of a difference leaves out 0."""
    return math.isfinite(error) and abs(mean) > Z * error


def _seconds(worth: Worth) -> float:
    """How long one ensemble takes to fit and to estimate."""
    worth.estimate([0])  # the first call imports
    begun = time.perf_counter()
    worth.estimate(range(len(worth.proba)))
    return time.perf_counter() - begun


def _sample(y: Labels, most: int, *, seed: int) -> NDArray[np.int64]:
    """At most so many rows (n,), the same for the same seed; each class with its share, and with one row at least."""
    if len(y) <= most:
        return np.arange(len(y))
    order = np.random.default_rng(seed).permutation(len(y))
    rank = np.empty(len(y))
    for k in np.unique(y):
        own = order[y[order] == k]
        rank[own] = (np.arange(len(own)) + 0.5) / len(own)
    rank[[order[y[order] == k][0] for k in np.unique(y)]] = 0.0
    return np.sort(np.argsort(rank, kind="stable")[:most])
