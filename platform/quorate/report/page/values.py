"""Compute the value of each member once for all sections of the page, in limited time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble import assemble
from quorate.ensemble.ablation import Ablation, EnsembleChange, EnsembleEstimate, PrunedEnsemble
from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.calibrator import fit_each
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.crossfit import CROSSFIT_PARTS, parts_of
from quorate.ensemble.metrics import row_nll
from quorate.ensemble.paired import Z
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature
from quorate.registry import KindParams
from quorate.report.page.run import RunData, Split

MOST_MEMBERS, MOST_ROWS, LEAST_ROWS = 12, 50_000, 500
"""To limit the time: maximum number of members that are removed, and maximum and minimum number of rows that are used.
Assumptions, not measurements."""
LEAST = 0.0005
"""Smaller changes of the log-loss, in nats, are ignored, even if they are significant. An assumption, not a
measurement."""
TRIALS = (LEAST_ROWS, 4 * LEAST_ROWS)
"""Numbers of rows of the two trials that estimate the time for all rows. Assumptions, not measurements."""
PATIENCE = 10.0
"""Time limit in seconds for removing members; if all rows would take longer, a sample of them is used. An assumption,
not a measurement."""


@dataclass(frozen=True, eq=False)
class BestMember:
    """The best single member, with a cross-fitted temperature or without one, whichever is better."""

    place: int
    """Position in `oof.members`."""
    tempered: bool
    nll: float
    lead: EnsembleChange
    """Metrics of the ensemble minus those of this member, on the out-of-fold rows; a negative log-loss is a gain of the
    ensemble."""
    test_lead: EnsembleChange | None


@dataclass(frozen=True, eq=False)
class Values:
    """The value of the members with weight. Members are positions in `oof.members`."""

    best: BestMember
    members: tuple[int, ...] = ()
    """The members that were removed in turn, the largest weight first."""
    without: tuple[EnsembleChange, ...] = ()
    """The change of the ensemble without each member."""
    path: tuple[PrunedEnsemble, ...] = ()
    """Ensembles of decreasing size; `left` holds positions in `members`."""
    rows: int = 0
    """Number of rows that were used."""
    notes: Sequence[str] = ()
    """Sentences on what was left out, and why."""


def values_of(run: RunData, *, patience: float = PATIENCE) -> Values:
    """The value of the members. Equal inputs give equal results, unless the combiner is so slow that only a sample of
    the rows is used."""
    best = best_single(run)
    everyone = run.weighing
    if run.combiner is None:
        return Values(
            best,
            notes=("The value of members is not available, because the combiner of the job cannot be loaded here.",),
        )
    if len(everyone) < 2:
        return Values(best)
    if (groups := run.oof.dependence.groups) is not None and len(np.unique(groups)) < 2:
        said = "All out-of-fold rows belong to one group, so the noise of the members' value is unknown."
        return Values(best, notes=(said,))
    try:
        return _taken_away(run, best, everyone, run.combiner, patience)
    except ValueError as error:  # users' own combiners may require certain members
        return Values(best, notes=(f"The combiner does not work with fewer members: {error}.",))


def _taken_away(
    run: RunData, best: BestMember, everyone: list[int], combiner: Combiner[KindParams], patience: float
) -> Values:
    """The value of the members at these positions, on as many rows as the time allows."""
    asked, notes = everyone[:MOST_MEMBERS], []
    if len(everyone) > len(asked):
        notes.append(
            f"Only the {len(asked)} members with the largest weights are shown; {len(everyone)} members have a weight "
            "above 0."
        )
    y, proba = run.oof.y, run.oof.proba[asked]
    rows = _sample(y, MOST_ROWS if len(everyone) == len(asked) else min(MOST_ROWS, 10_000), seed=run.seed)

    def ablation_on(some: NDArray[np.int64]) -> Ablation:
        return Ablation.of(
            proba=proba[:, some],
            y=y[some],
            combiner=combiner.of(asked),
            seed=run.seed,
            dependence=run.oof.dependence.take(some),
        )

    # The time for all rows is extrapolated linearly from two trials with fewer rows.
    few, some = (rows[_sample(y[rows], most, seed=run.seed)] for most in TRIALS)
    first, second = (_seconds(ablation_on(trial)) for trial in (few, some))
    slope = max(second - first, 0.0) / max(len(some) - len(few), 1)
    each = second + slope * (len(rows) - len(some))
    alone, path = each * (len(asked) + 1), each * len(asked) * (len(asked) + 1) / 3
    if alone + path > patience:
        # The sample size is only halved, so that small variations in time do not change the results.
        fewer = len(rows) >> math.ceil(math.log2((alone + path) / patience))
        sample = rows[_sample(y[rows], max(fewer, LEAST_ROWS), seed=run.seed)]
        alone, path = (seconds * len(sample) / len(rows) for seconds in (alone, path))
        rows = sample
    ablation = ablation_on(rows)
    if len(rows) < len(y):
        notes.append(f"Members were removed on a sample of {len(rows):,} of the {len(y):,} rows.")
    if alone > patience:
        notes.append("This combiner is too slow to remove each member in turn.")
        return Values(best, tuple(asked), rows=len(rows), notes=tuple(notes))
    without = tuple(ablation.without_each())
    steps: tuple[PrunedEnsemble, ...] = ()
    if path <= patience:
        steps = tuple(ablation.eliminate(run.seconds[[run.oof.members[place] for place in asked]]))
    else:
        notes.append("This combiner is too slow to remove one member after another.")
    return Values(best, tuple(asked), without, steps, len(rows), tuple(notes))


def best_single(run: RunData) -> BestMember:
    """The best single member, compared with the ensemble."""
    oof, parts = run.oof, list(parts_of(run.oof.y, splits=CROSSFIT_PARTS, seed=run.seed, dependence=run.oof.dependence))
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
    """Whether a change of the log-loss is significant and not negligible."""
    return clear(change.nll, change.nll_error) and abs(change.nll) >= LEAST


def clear(mean: float, error: float) -> bool:
    """Whether the 95 % confidence interval of a difference excludes 0."""
    return math.isfinite(error) and abs(mean) > Z * error


def _seconds(ablation: Ablation) -> float:
    """Measure the seconds to fit and score one ensemble."""
    ablation.estimate([0])  # the first call also imports modules
    begun = time.perf_counter()
    ablation.estimate(range(len(ablation.proba)))
    return time.perf_counter() - begun


def _sample(y: Labels, most: int, *, seed: int) -> NDArray[np.int64]:
    """A stratified sample of at most `most` rows (n,), with at least one row per class; deterministic per seed."""
    if len(y) <= most:
        return np.arange(len(y))
    order = np.random.default_rng(seed).permutation(len(y))
    rank = np.empty(len(y))
    for k in np.unique(y):
        own = order[y[order] == k]
        rank[own] = (np.arange(len(own)) + 0.5) / len(own)
    rank[[order[y[order] == k][0] for k in np.unique(y)]] = 0.0
    return np.sort(np.argsort(rank, kind="stable")[:most])
