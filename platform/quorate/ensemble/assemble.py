"""From out-of-fold probabilities to the ensemble, with an estimate of its quality that has not seen its rows.

The weights and temperatures are fitted on all rows; what they are worth is estimated by fitting them
on some parts of the rows and applying them to the others. The ensemble's estimate is never worse than
that of its best single member, by the combiner's objective: when it would be, that member is the ensemble.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Mask, Proba
from quorate.ensemble.calibration import apply_temperature, fit_temperature
from quorate.ensemble.calibrations.temperature import Temperature
from quorate.ensemble.calibrator import Calibration, calibrated, fit_each
from quorate.ensemble.combination import AS_IT_IS, Candidate, Combination, one_member
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.crossfit import Split, crossfitted, crossfitted_temperature, parts_of
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.metrics import nll, row_nll, scores
from quorate.ensemble.objectives import NAMES, Objective, loss, search_loss
from quorate.ensemble.paired import Difference, paired_difference
from quorate.registry import KindParams


@dataclass(frozen=True, eq=False)
class Assembly:
    """An ensemble and its cross-fitted estimate.

    `crossfit_proba` (N, K) and `row_losses` (N,) are NaN outside `rows` (N,), the rows that every
    member covers and that count; `scores` are over those rows. `best_single` is the member of least cross-fitted
    loss, calibrated or not, whichever is better. `guarded` says that this member took the place
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
    gain: Difference
    """How much less the log-loss is than the best single member's, in nats."""
    guarded: bool
    reason: str | None
    candidates: tuple[Candidate, ...] = ()
    """What the combiner has chosen from, if it has."""


def assemble(
    *,
    proba: Proba,
    mask: Mask,
    y: Labels,
    combiner: Combiner[KindParams],
    seed: int,
    splits: int = 5,
    names: Sequence[str] | None = None,
    dependence: Dependence = INDEPENDENT,
    learnable: Mask | None = None,
) -> Assembly:
    """The ensemble of members with out-of-fold probabilities (M, N, K), where `mask` (M, N), for labels (N,).

    `splits` is the number of cross-fitting parts, fewer where the rarest class has fewer rows;
    `names` of the members make messages readable; `dependence` says which rows are fitted on or held out together.
    Only rows that are `learnable` (N,), all where it is left out, count: on a row whose class was in no training row
    of its fold every member is wrong, the most when it is best elsewhere, so such rows decide nothing.
    Raises ValueError when too few rows, or not all classes, are covered by every member.
    """
    names = names or [f"member {number}" for number in range(len(proba))]
    rows = _counting_rows(mask, y, names, learnable)
    covered, labels = (proba, y) if rows.all() else (proba.compress(rows, axis=1), y[rows])
    dependence = dependence.take(rows)
    parts = list(parts_of(labels, splits=splits, seed=seed, dependence=dependence))
    fit = combiner.fit_dependent
    estimate = crossfitted(fit, proba=covered, y=labels, parts=parts, seed=seed, dependence=dependence)
    objective = combiner.objective
    combination = fit(proba=covered, y=labels, seed=seed, dependence=dependence)
    best = best_single(covered, labels, parts, objective, _temperatures(combiner, combination, covered, labels))
    combiner_nll, combiner_loss = nll(estimate, labels), loss(objective, estimate, labels)
    guarded, reason = best.loss < combiner_loss, None
    candidates = combination.candidates
    if guarded:
        estimate = best.proba
        calibration = Temperature(fit_temperature(proba=covered[best.member], y=labels)) if best.tempered else AS_IT_IS
        combination = one_member(member=best.member, members=len(proba), calibration=calibration)
        named = NAMES[objective]
        reason = (
            f"the cross-fitted {named} of {combiner.params.kind}, {combiner_loss:.6g}, is worse than the "
            f"{best.loss:.6g} of {names[best.member]} {'calibrated' if best.tempered else 'uncalibrated'} "
            "and alone, so that member is the ensemble"
        )
    return Assembly(
        combination=combination,
        crossfit_proba=_on_all_rows(estimate, rows),
        rows=rows,
        scores=scores(estimate, labels),
        row_losses=_on_all_rows(row_nll(estimate, labels), rows),
        combiner_nll=combiner_nll,
        best_single=best.member,
        best_single_nll=nll(best.proba, labels),
        gain=paired_difference(row_nll(best.proba, labels), row_nll(estimate, labels), groups=dependence.groups),
        guarded=guarded,
        reason=reason,
        candidates=candidates,
    )


def _counting_rows(mask: Mask, y: Labels, names: Sequence[str], learnable: Mask | None) -> Mask:
    rows = _common_rows(mask, y, names)
    if learnable is None:
        return rows
    counting: Mask = rows & learnable
    if np.count_nonzero(counting) < 2:
        raise ValueError(
            f"{np.count_nonzero(counting)} of the {np.count_nonzero(rows)} rows that all members cover are of classes "
            "that the models of their fold could learn, too few to combine the members; change validation.folds or the "
            "seed, or add rows of these classes"
        )
    return counting


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


@dataclass(frozen=True, eq=False)
class Single:
    """The best member by its cross-fitted loss, as it is or tempered."""

    member: int
    tempered: bool
    searched: float
    """The loss with what decides between equals."""
    loss: float
    proba: Floats


def _temperatures(
    combiner: Combiner[KindParams], combination: Combination, proba: Proba, y: Labels
) -> Sequence[Calibration]:
    """A temperature for each member, fitted on all rows: the combiner's own where it has them."""
    if getattr(getattr(combiner.params, "calibration", None), "kind", None) == "temperature":
        return combination.calibrations
    return fit_each(KindParams(kind="temperature"), proba=proba, y=y)


def best_single(
    proba: Proba, y: Labels, parts: Sequence[Split], objective: Objective, temperatures: Sequence[Calibration]
) -> Single:
    """The best of members (M, N, K) as they are and tempered; `temperatures` are those fitted on all rows."""
    best = min((_as_it_is(member, raw, y, objective) for member, raw in enumerate(proba)), key=lambda one: one.searched)
    # Fitted on its own rows a temperature looks better than cross-fitted: where even so it falls short, nobody asks.
    hopes = [search_loss(objective, member, y) for member in calibrated(temperatures, proba)]
    for member in np.argsort(hopes, kind="stable").tolist():
        if hopes[member] >= best.searched:
            break
        estimate = crossfitted_temperature(proba[member], y, parts)
        found = search_loss(objective, estimate, y)
        if found < best.searched:
            best = Single(member, True, found, loss(objective, estimate, y), estimate)
    return best


def _as_it_is(member: int, raw: Proba, y: Labels, objective: Objective) -> Single:
    plain = apply_temperature(proba=raw, temperature=1.0)
    return Single(member, False, search_loss(objective, plain, y), loss(objective, plain, y), plain)


def _on_all_rows(values: Floats, rows: Mask) -> Floats:
    """`values` of the covered rows at their place among all rows, NaN elsewhere."""
    spread = np.full((len(rows), *values.shape[1:]), np.nan)
    spread[rows] = values
    return spread
