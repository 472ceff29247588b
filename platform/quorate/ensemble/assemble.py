"""From out-of-fold probabilities to the ensemble, with an estimate of its quality that has not seen its rows.

The weights and temperatures are fitted on all rows; what they are worth is estimated by fitting them
on some parts of the rows and applying them to the others. The ensemble's estimate is never worse than
that of its best single member: when it would be, that member is the ensemble.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold

from quorate.ensemble.arrays import Floats, Labels, Mask, Proba
from quorate.ensemble.calibration import apply_temperature, fit_temperature
from quorate.ensemble.combination import Combination, one_member
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.metrics import nll, row_nll, scores
from quorate.kinds import KindParams

Split = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Assembly:
    """An ensemble and its cross-fitted estimate.

    `crossfit_proba` (N, K) and `row_losses` (N,) are NaN outside `rows` (N,), the rows that every
    member covers; `scores` are over those rows. `best_single` is the member of least cross-fitted
    log-loss, calibrated or not, whichever is better. `guarded` says that this member took the place
    of the combination, and `reason` why; `combiner_nll` is what the combination itself would have had.
    A guarded estimate is the best of 2 M candidates on the same rows, thus slightly optimistic where
    many members are equally good; `combiner_nll` never is.
    """

    combination: Combination
    crossfit_proba: Floats
    rows: Mask
    scores: dict[str, float]
    row_losses: Floats
    combiner_nll: float
    best_single: int
    best_single_nll: float
    guarded: bool
    reason: str | None


def assemble(
    *,
    proba: Proba,
    mask: Mask,
    y: Labels,
    combiner: Combiner[KindParams],
    seed: int,
    splits: int = 5,
    names: Sequence[str] | None = None,
) -> Assembly:
    """The ensemble of members with out-of-fold probabilities (M, N, K), where `mask` (M, N), for labels (N,).

    `splits` is the number of cross-fitting parts, fewer where the rarest class has fewer rows;
    `names` of the members make messages readable. Raises ValueError when too few rows, or not all
    classes, are covered by every member.
    """
    names = names or [f"member {number}" for number in range(len(proba))]
    rows = _common_rows(mask, y, names)
    covered, labels = (proba, y) if rows.all() else (proba[:, rows], y[rows])
    parts = list(_parts(labels, splits, seed))
    estimate = _crossfitted(combiner, covered, labels, parts, seed)
    best = _best_single(covered, labels, parts)
    combiner_nll = nll(estimate, labels)
    guarded, reason = best.nll < combiner_nll, None
    if guarded:
        estimate = best.proba
        temperature = fit_temperature(proba=covered[best.member], y=labels) if best.tempered else 1.0
        combination = one_member(member=best.member, members=len(proba), temperature=temperature)
        reason = (
            f"the cross-fitted NLL of {combiner.params.kind}, {combiner_nll:.6g}, is worse than the "
            f"{best.nll:.6g} of {names[best.member]} {'calibrated' if best.tempered else 'uncalibrated'} "
            "and alone, so that member is the ensemble"
        )
    else:
        combination = combiner.fit(proba=covered, y=labels, seed=seed)
    return Assembly(
        combination=combination,
        crossfit_proba=_on_all_rows(estimate, rows),
        rows=rows,
        scores=scores(estimate, labels),
        row_losses=_on_all_rows(row_nll(estimate, labels), rows),
        combiner_nll=combiner_nll,
        best_single=best.member,
        best_single_nll=best.nll,
        guarded=guarded,
        reason=reason,
    )


def _common_rows(mask: Mask, y: Labels, names: Sequence[str]) -> Mask:
    rows: Mask = np.logical_and.reduce(mask, axis=0)
    if np.count_nonzero(rows) < 2:
        covered = ", ".join(f"{name} {count}" for name, count in zip(names, mask.sum(axis=1), strict=True))
        raise ValueError(
            f"the members have {np.count_nonzero(rows)} rows in common, too few to combine them; "
            f"rows covered, of {len(y)}: {covered}"
        )
    lost = np.setdiff1d(y, y[rows])
    if lost.size:
        raise ValueError(
            f"the {np.count_nonzero(rows)} rows that all members cover hold no row of class "
            f"{', '.join(map(str, lost))}; leave out the members with missing folds or train those folds"
        )
    return rows


def _parts(y: Labels, splits: int, seed: int) -> Iterator[Split]:
    """(fit rows, held rows) for each part: stratified, unless a class has a single row."""
    rarest = int(np.unique(y, return_counts=True)[1].min())
    state = seed % 2**32
    if rarest >= 2:
        folds = StratifiedKFold(max(2, min(splits, rarest)), shuffle=True, random_state=state)
    else:
        folds = KFold(max(2, min(splits, len(y))), shuffle=True, random_state=state)
    yield from folds.split(np.zeros(len(y)), y)


def _crossfitted(combiner: Combiner[KindParams], proba: Proba, y: Labels, parts: Sequence[Split], seed: int) -> Floats:
    estimate = np.empty(proba.shape[1:])
    for fit_rows, held in parts:
        combination = combiner.fit(proba=proba[:, fit_rows], y=y[fit_rows], seed=seed)
        estimate[held] = combination.apply(proba[:, held])
    return estimate


@dataclass(frozen=True, eq=False)
class _Single:
    """The best member by cross-fitted log-loss, as it is or tempered."""

    member: int
    tempered: bool
    nll: float
    proba: Floats


def _best_single(proba: Proba, y: Labels, parts: Sequence[Split]) -> _Single:
    best: _Single | None = None
    for member, raw in enumerate(proba):
        plain = apply_temperature(proba=raw, temperature=1.0)
        for tempered, estimate in ((False, plain), (True, _crossfitted_temperature(raw, y, parts))):
            loss = nll(estimate, y)
            if best is None or loss < best.nll:
                best = _Single(member=member, tempered=tempered, nll=loss, proba=estimate)
    assert best is not None, "an ensemble has at least one member"
    return best


def _crossfitted_temperature(proba: Proba, y: Labels, parts: Sequence[Split]) -> Floats:
    estimate = np.empty(proba.shape)
    for fit_rows, held in parts:
        temperature = fit_temperature(proba=proba[fit_rows], y=y[fit_rows])
        estimate[held] = apply_temperature(proba=proba[held], temperature=temperature)
    return estimate


def _on_all_rows(values: Floats, rows: Mask) -> Floats:
    """`values` of the covered rows at their place among all rows, NaN elsewhere."""
    spread = np.full((len(rows), *values.shape[1:]), np.nan)
    spread[rows] = values
    return spread
