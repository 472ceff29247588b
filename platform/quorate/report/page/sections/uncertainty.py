"""The section on uncertain rows: risk-coverage curves and conformal sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from quorate.ensemble.abstention import RiskCoverage
from quorate.ensemble.conformal import Conformal
from quorate.ensemble.intervals import wilson
from quorate.report.page.run import RunData, Split
from quorate.report.page.section import Chart, Remark, Section, act, good, many, note, percent
from quorate.report.page.svg import Axes, drawing, span

COVERAGE = 0.9
"""Coverage of the conformal sets, by convention."""
ANSWERED = (1.0, 0.95, 0.9, 0.8, 0.5)
"""Coverages in the table: fractions of the rows that the ensemble classifies."""
POINTS = 160
"""Maximum number of points of a curve."""
FEW = 50
"""Minimum number of rows for drawing the risk; with fewer rows it is mostly noise. An assumption, not a measurement."""


@dataclass(frozen=True)
class CoverageRow:
    """The error rate at one coverage: the least confident rows are left to people."""

    coverage: float
    confidence: float
    risk: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class SetSizes:
    """The conformal sets of rows, by number of classes."""

    words: str
    sizes: list[tuple[int, float]]
    mean: float
    covered: float | None
    """Fraction of the rows whose set contains the true class; None if the threshold was set on the same rows."""
    low: float = 0.0
    high: float = 0.0
    promised: tuple[float, float] = (0.0, 1.0)
    """Expected range of the coverage, given the number of rows on which the threshold was set."""


def section(run: RunData) -> Section:
    split = run.test if run.test is not None else run.oof
    found = RiskCoverage.of(proba=split.ensemble, y=split.y)
    table = [_answered(found, share, len(split)) for share in ANSWERED]
    sets = _sets(run)
    return Section(
        "uncertainty",
        "Uncertainty",
        "How often is the ensemble wrong if it answers only its most confident rows and leaves the others to people? "
        f"And how many classes must a set contain to include the true class in {percent(COVERAGE, 0)} of the rows?",
        list(_remarks(run, found, table, sets)),
        {
            "charts": [_risk_chart(run), _sets_chart(sets)],
            "table": table,
            "area": found.area,
            "words": split.words,
            "sets": sets,
        },
    )


def _answered(found: RiskCoverage, share: float, rows: int) -> CoverageRow:
    place = int(np.argmax(found.coverage >= share - 1e-9))
    count = round(float(found.coverage[place]) * rows)
    risk = float(found.risk[place])
    low, high = wilson(round(risk * count), max(count, 1))
    return CoverageRow(float(found.coverage[place]), float(found.confidence[place]), risk, low, high)


def _sets(run: RunData) -> SetSizes:
    promise = Conformal.of(proba=run.oof.ensemble, y=run.oof.y)
    split: Split = run.test if run.test is not None else run.oof
    members = promise.sets(split.ensemble, coverage=COVERAGE)
    sizes = members.sum(axis=1)
    shares = [(int(size), float((sizes == size).mean())) for size in range(int(sizes.max()) + 1)]
    if run.test is None:
        return SetSizes(split.words, shares, float(sizes.mean()), None)
    held = members[np.arange(len(split)), split.y]
    low, high = wilson(int(held.sum()), len(split))
    promised = promise.coverage_range(coverage=COVERAGE)
    return SetSizes(split.words, shares, float(sizes.mean()), float(held.mean()), low, high, promised)


def _remarks(run: RunData, found: RiskCoverage, table: list[CoverageRow], sets: SetSizes) -> Iterator[Remark]:
    whole, most = table[0], table[2]
    if whole.risk == 0:
        yield good("All rows are right: no row needs to be left to people.")
    elif most.high < whole.risk:
        yield good(
            f"Leaving the least confident {percent(1 - most.coverage, 0)} of the rows to people (confidence below "
            f"{most.confidence:.2f}) lowers the error rate from {percent(whole.risk)} to {percent(most.risk)}."
        )
    else:
        yield note(
            f"Leaving the least confident {percent(1 - most.coverage, 0)} of the rows to people does not clearly "
            f"lower the error rate ({percent(whole.risk)} to {percent(most.risk)})."
        )
    aim = whole.risk / 4
    needed = found.confidence_for(aim) if whole.risk else None
    if needed is not None and whole.risk > 0:
        coverage, _ = found.at(needed)
        yield note(
            f"To reduce the error rate to a quarter, answer only rows with a confidence of at least {needed:.2f}. "
            f"These are {percent(coverage, 0)} of the rows."
        )
    sure = sum(share for size, share in sets.sizes if size == 1)
    empty = sum(share for size, share in sets.sizes if size == 0)
    least, most_of_it = (percent(share) for share in sets.promised)
    if sets.covered is not None and sets.high < sets.promised[0]:
        yield act(
            f"The sets contain the true class in {percent(sets.covered)} of the test rows, clearly less than the "
            f"{least} to {most_of_it} expected for {percent(COVERAGE, 0)} with "
            f"{many(len(run.oof), 'out-of-fold row')}. Either the test rows differ from the training rows, or the mean "
            "of several folds, which predicts the test rows, is less confident than each fold. Set the threshold on "
            "rows like the test rows."
        )
    elif sets.covered is not None:
        yield good(
            f"The sets contain the true class in {percent(sets.covered)} of the test rows (95 % interval "
            f"{percent(sets.low)} to {percent(sets.high)}). The target is {percent(COVERAGE, 0)}; with "
            f"{many(len(run.oof), 'out-of-fold row')}, {least} to {most_of_it} are expected. The sets have "
            f"{sets.mean:.2f} classes on average."
        )
    else:
        yield note(f"The sets have {sets.mean:.2f} classes on average; test rows are needed to check their coverage.")
    if empty > 0.01:
        yield note(
            f"{percent(sure, 0)} of the sets contain one class and {percent(empty, 0)} none: the ensemble is right "
            f"in more than {percent(COVERAGE, 0)} of the rows, so use a higher coverage, e.g. 99 %."
        )


def _risk_chart(run: RunData) -> Chart:
    curves = [(split, RiskCoverage.of(proba=split.ensemble, y=split.y)) for split in run.splits]
    drawn = []
    for split, found in curves:
        kept = np.flatnonzero(found.coverage * len(split) >= min(FEW, len(split) / 4))
        places = np.unique(np.linspace(kept[0], kept[-1], min(POINTS, len(kept))).round().astype(int))
        drawn.append([(float(found.coverage[k]), float(found.risk[k])) for k in places])
    high = max(max(y for _, y in points) for points in drawn)
    axes = Axes.of(
        (0, 1),
        (0, span([0, high or 0.01])[1]),
        x_label="share of the rows answered",
        y_label="error rate",
        percent="xy",
    )
    parts = [axes.frame()]
    legend = []
    for (split, found), points, style in zip(curves, drawn, ("c1", "c2"), strict=False):
        parts.append(axes.line(points, style))
        legend.append((f"line {style}", f"{split.words} (area {found.area:.4f})"))
    whole = curves[-1][1]
    label = f"Risk against coverage: {percent(float(whole.risk[-1]))} of all rows are wrong; area {whole.area:.4f}."
    caption = "The area under the curve (AURC) is the mean error rate over all shares; lower is better."
    return Chart(drawing(axes.width, axes.height, label, *parts), tuple(legend), caption, title="Risk and coverage")


def _sets_chart(sets: SetSizes) -> Chart:
    shown = sets.sizes[:12]
    rest = sum(share for _, share in sets.sizes[12:])
    bars = [(str(size), share) for size, share in shown] + ([("more", rest)] if rest else [])
    axes = Axes.of(
        (0, len(bars)), (0, span([0, max(share for _, share in bars)])[1]), y_label="share of the rows", percent="y"
    )
    parts = [axes.frame(ticks="y")]
    for place, (said, share) in enumerate(bars):
        parts.append(axes.bar(place + 0.12, place + 0.88, share, "c1", f"{said} classes: {percent(share)} of the rows"))
        x = axes.x(place + 0.5)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{axes.y.start + 16:.1f}" text-anchor="middle">{said}</text>')
        if share:
            written = percent(share, 0) if share >= 0.005 else "<1 %"
            parts.append(
                f'<text class="value" x="{x:.1f}" y="{axes.y(share) - 5:.1f}" text-anchor="middle">'
                f"{written.replace('<', '&lt;')}</text>"
            )
    parts.append(
        f'<text class="label" x="{(axes.x.start + axes.x.end) / 2:.0f}" y="{axes.y.start + 33:.0f}" '
        'text-anchor="middle">classes in the set</text>'
    )
    label = f"Conformal sets at {percent(COVERAGE, 0)}: " + ", ".join(
        f"{percent(s)} contain {said}" for said, s in bars
    )
    title = f"Sets for a coverage of {percent(COVERAGE, 0)}"
    caption = f"On the {sets.words}; the probability threshold of the sets was fitted on the out-of-fold rows."
    return Chart(drawing(axes.width, axes.height, label, *parts), (), caption, title=title)
