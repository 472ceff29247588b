"""Build an ensemble from out-of-fold probabilities, with a cross-fitted estimate of its quality.

The weights and temperatures are fitted on all rows. For the estimate, each part of the rows is predicted with weights
and temperatures fitted on the other parts. If the combination's estimate is worse than that of the best single member,
that member becomes the ensemble. A combiner that chooses weights could have chosen that member alone, so it is replaced
only if its estimate is significantly worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Mask, Proba
from quorate.ensemble.calibrations.temperature import Temperature
from quorate.ensemble.calibrator import Calibration, calibrated, fit_each
from quorate.ensemble.combination import AS_IT_IS, Candidate, Combination, single_member
from quorate.ensemble.combiner import Combiner
from quorate.ensemble.crossfit import CROSSFIT_PARTS, Split, crossfitted, crossfitted_temperature, parts_of
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.metrics import nll, row_nll, scores
from quorate.ensemble.objectives import NAMES, OF_ROWS, Objective, loss, row_losses, search_loss
from quorate.ensemble.paired import Difference, Z, paired_difference, standard_error
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature
from quorate.registry import KindParams


@dataclass(frozen=True, eq=False)
class Assembly:
    """An ensemble and its cross-fitted estimate.

    `rows` (N,) are the learnable rows that every member covers. `crossfit_proba` (N, K) and `row_losses` (N,) are NaN
    outside `rows`, and `scores` are over `rows`. `best_single` is the member with the lowest cross-fitted loss,
    calibrated or uncalibrated. `guarded` is true if this member replaced the combination, and `reason` explains why.
    `combiner_nll` is the log-loss of the combination itself. A guarded estimate is the best of 2 M candidates on the
    same rows, so it is slightly optimistic if many members are equally good; `combiner_nll` does not have this bias.
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
    """The best single member's log-loss minus the ensemble's, in nats."""
    guarded: bool
    reason: str | None
    candidates: tuple[Candidate, ...] = ()
    """The candidates that the combiner chose from, if any."""


def assemble(
    *,
    proba: Proba,
    mask: Mask,
    y: Labels,
    combiner: Combiner[KindParams],
    seed: int,
    names: Sequence[str] | None = None,
    dependence: Dependence = INDEPENDENT,
    learnable: Mask | None = None,
) -> Assembly:
    """Combine members with out-of-fold probabilities (M, N, K) on the rows in `mask` (M, N), for labels (N,).

    There are `CROSSFIT_PARTS` cross-fitting parts, or fewer if the rarest class has fewer rows. `names` are the
    members' names in messages. `dependence` defines which rows must be in the same part. Only `learnable` (N,) rows
    are used; by default all of them. Other rows have a class without training rows in their fold. Every member is
    wrong on them, and better members are wrong with more confidence, so these rows must be left out. Raises
    ValueError if too few rows, or not all classes, are covered by every member.
    """
    names = names or [f"member {number}" for number in range(len(proba))]
    rows = _counting_rows(mask, y, names, learnable)
    covered, labels = (proba, y) if rows.all() else (proba.compress(rows, axis=1), y[rows])
    dependence = dependence.take(rows)
    parts = list(parts_of(labels, splits=CROSSFIT_PARTS, seed=seed, dependence=dependence))
    fit = combiner.fit_dependent
    estimate = crossfitted(fit, proba=covered, y=labels, parts=parts, seed=seed, dependence=dependence)
    objective = combiner.objective
    combination = fit(proba=covered, y=labels, seed=seed, dependence=dependence)
    best = best_single(covered, labels, parts, objective, _temperatures(combiner, combination, covered, labels))
    combiner_nll, combiner_loss = nll(estimate, labels), loss(objective, estimate, labels)
    guarded, reason = best.loss < combiner_loss, None
    if guarded and combiner.chooses_weights:
        noise = _noise(objective, best.proba, estimate, labels, parts, dependence)
        guarded = best.loss < combiner_loss - Z * noise
    candidates = combination.candidates
    if guarded:
        estimate = best.proba
        calibration = Temperature(fit_temperature(proba=covered[best.member], y=labels)) if best.tempered else AS_IT_IS
        combination = single_member(member=best.member, members=len(proba), calibration=calibration)
        named = NAMES[objective]
        reason = (
            f"the cross-fitted {named} of {combiner.params.kind}, {combiner_loss:.6g}, is worse than that "
            f"of the {'calibrated' if best.tempered else 'uncalibrated'} member {names[best.member]} alone, "
            f"{best.loss:.6g}, so the ensemble is this member"
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


def _noise(
    objective: Objective, first: Floats, second: Floats, y: Labels, parts: Sequence[Split], dependence: Dependence
) -> float:
    """The standard error of the difference of two losses on the same rows; 0 if it is unknown."""
    held = [part for _, part in parts]
    pairs = row_losses(objective, first, y, held) - row_losses(objective, second, y, held)
    error = standard_error(pairs, groups=dependence.groups if objective in OF_ROWS else None)
    return error if math.isfinite(error) else 0.0


def _counting_rows(mask: Mask, y: Labels, names: Sequence[str], learnable: Mask | None) -> Mask:
    rows = _common_rows(mask, y, names)
    if learnable is None:
        return rows
    counting: Mask = rows & learnable
    if np.count_nonzero(counting) < 2:
        raise ValueError(
            f"too few rows to combine the members: only {np.count_nonzero(counting)} of the "
            f"{np.count_nonzero(rows)} rows that all members have predicted have a class that their fold was trained "
            "on, but at least 2 are required; change validation.folds or the seed, or add rows of the rare classes"
        )
    return counting


def _common_rows(mask: Mask, y: Labels, names: Sequence[str]) -> Mask:
    rows: Mask = np.logical_and.reduce(mask, axis=0)
    if np.count_nonzero(rows) < 2:
        covered = ", ".join(f"{name} {count}" for name, count in zip(names, mask.sum(axis=1), strict=True))
        raise ValueError(
            f"too few rows to combine the members: all of them have predicted only "
            f"{np.count_nonzero(rows)} of the {len(y)} rows, but at least 2 are required; rows by member: {covered}"
        )
    lost = np.setdiff1d(y, y[rows])
    if lost.size:
        raise ValueError(
            f"the {np.count_nonzero(rows)} rows that all members have predicted include no row of class "
            f"{', '.join(map(str, lost))}; train the missing folds, or leave out the members that lack them"
        )
    return rows


@dataclass(frozen=True, eq=False)
class Single:
    """The best member by its cross-fitted loss, uncalibrated or with a temperature."""

    member: int
    tempered: bool
    searched: float
    """The loss plus a term that breaks ties between equal members."""
    loss: float
    proba: Floats


def _temperatures(
    combiner: Combiner[KindParams], combination: Combination, proba: Proba, y: Labels
) -> Sequence[Calibration]:
    """Return a temperature per member, fitted on all rows; if the combiner uses temperatures, its own."""
    calibration = combiner.member_calibration
    if calibration is not None and calibration.kind == "temperature":
        return combination.calibrations
    return fit_each(KindParams(kind="temperature"), proba=proba, y=y)


def best_single(
    proba: Proba, y: Labels, parts: Sequence[Split], objective: Objective, temperatures: Sequence[Calibration]
) -> Single:
    """Find the best of the members (M, N, K), each uncalibrated and with a temperature; `temperatures` are fitted on
    all rows."""
    best = min((_as_it_is(member, raw, y, objective) for member, raw in enumerate(proba)), key=lambda one: one.searched)
    # A temperature looks better on the rows that it was fitted on. If it does not improve on the best candidate even
    # there, its cross-fitted loss need not be computed.
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
    """Return the `values` of the covered rows at their positions among all rows, with NaN elsewhere."""
    spread = np.full((len(rows), *values.shape[1:]), np.nan)
    spread[rows] = values
    return spread
