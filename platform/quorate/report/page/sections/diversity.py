"""The section on diversity: how the members differ, and how the ensemble gains from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from quorate.ensemble.arrays import Floats
from quorate.ensemble.diversity import Ambiguity, Pairs, brier_ambiguity, pairs
from quorate.report.page.heat import Cell, level
from quorate.report.page.run import RunData
from quorate.report.page.section import Remark, Section, act, good, note, percent

MOST, MOST_ROWS = 24, 200_000
"""Maximum number of members in a matrix, and of rows that it uses."""
ALIKE = 0.9
"""Minimum correlation of the mistakes of two members that count as nearly identical. An assumption, not a
measurement."""
LITTLE, MUCH = 0.03, 0.1
"""An ambiguity counts as small below the first fraction of the members' mean Brier score, and as large above the
second. Assumptions, not measurements."""


@dataclass(frozen=True)
class PairMatrix:
    """One measure for all pairs of members."""

    title: str
    caption: str
    cells: list[list[Cell]]


def section(run: RunData) -> Section | None:
    """The section; None if there is only one member."""
    shown = _shown(run)
    if len(shown) < 2:
        return None
    rows = slice(None, None, max(1, len(run.oof) // MOST_ROWS))
    found = pairs(proba=run.oof.proba[shown][:, rows], y=run.oof.y[rows])
    names = [run.label(place) for place in shown]
    gain = _ambiguity(run)
    return Section(
        "diversity",
        "Diversity",
        "Members that make the same mistakes cannot correct each other. Disagreement is the share of rows for which "
        "two members predict different classes. The correlation compares where members are right: it is 1 if two "
        "members fail on the same rows, and 0 if their mistakes are unrelated.",
        list(_remarks(names, found, gain, [run.weights[run.oof.members[place]] for place in shown])),
        {
            "names": names,
            "matrices": [
                PairMatrix(
                    "Disagreement",
                    "Share of the rows for which two members predict different classes, in per cent.",
                    _cells(found.disagreement, names, per_cent=True),
                ),
                PairMatrix(
                    "Correlation of errors",
                    "Correlation of being right on the same rows. The lower, the better two members complement each "
                    "other.",
                    _cells(found.correlation, names, per_cent=False),
                ),
            ],
            "gain": gain,
            "left_out": len(run.oof.members) - len(shown),
        },
    )


def _shown(run: RunData) -> list[int]:
    """The members with the largest weights, in the order of the leaderboard."""
    members = run.oof.members
    heaviest = sorted(range(len(members)), key=lambda place: -run.weights[members[place]])[:MOST]
    return sorted(heaviest)


def _ambiguity(run: RunData) -> Ambiguity | None:
    own = run.weighing
    if len(own) < 2:
        return None
    weights = np.array([run.weights[run.oof.members[place]] for place in own])
    rows = slice(None, None, max(1, len(run.oof) // MOST_ROWS))
    return brier_ambiguity(proba=run.oof.proba[own][:, rows], weights=weights / weights.sum(), y=run.oof.y[rows])


def _cells(values: Floats, names: Sequence[str], *, per_cent: bool) -> list[list[Cell]]:
    off = values[~np.eye(len(values), dtype=bool)]
    most, least = (float(each) for each in (np.nanmax(off, initial=0.0), np.nanmin(off, initial=1.0)))
    bounds = (0.8 * least, max(most, 1e-9)) if per_cent else (0.0, 1.0)
    return [
        [_cell(values[i, j], names[i], names[j], bounds, i == j, per_cent) for j in range(len(names))]
        for i in range(len(names))
    ]


def _cell(value: float, first: str, second: str, bounds: tuple[float, float], diagonal: bool, per_cent: bool) -> Cell:
    if diagonal:
        return Cell("", "none", first)
    if not np.isfinite(value):
        return Cell("–", "none", f"{first} and {second}: undefined, because one of them is always right")
    said = f"{100 * value:.1f}" if per_cent else f"{value:.2f}"
    low, high = bounds
    shade = level(max((float(value) - low) / max(high - low, 1e-9), 0.0))
    return Cell(said, f"hit {shade}", f"{first} and {second}: {said}{' %' if per_cent else ''}")


def _remarks(names: Sequence[str], found: Pairs, gain: Ambiguity | None, weights: Sequence[float]) -> Iterator[Remark]:
    upper = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    known = [(i, j) for i, j in upper if np.isfinite(found.correlation[i, j])]
    if not known:
        yield note("There are too few mistakes to compare the members.")
    else:
        i, j = max(known, key=lambda pair: found.correlation[pair])
        value, differ = found.correlation[i, j], percent(float(found.disagreement[i, j]))
        if value >= ALIKE:
            yield act(
                f"{names[i]} and {names[j]} make nearly the same mistakes (correlation {value:.2f}, different "
                f"classes for {differ} of the rows): one of them adds little."
            )
        else:
            yield good(
                f"No two members make the same mistakes: the most similar, {names[i]} and {names[j]}, have a "
                f"correlation of {value:.2f}."
            )
        i, j = min(known, key=lambda pair: found.correlation[pair])
        if len(known) > 1:
            yield note(
                f"{names[i]} and {names[j]} differ most (correlation {found.correlation[i, j]:.2f}): members like "
                "these complement each other."
            )
    if gain is not None and gain.members > 0:
        share = gain.ambiguity / gain.members
        words = (
            f"the mean Brier score of the members is {gain.members:.4f}, and the Brier score of their weighted mean is "
            f"{gain.ensemble:.4f}, {percent(share)} lower"
        )
        if share < LITTLE:
            yield act(f"Averaging gains little: {words}. Add a member of another kind.")
        elif share < MUCH:
            yield note(f"Averaging gains something: {words}.")
        else:
            yield good(f"Averaging gains a lot: {words}.")
