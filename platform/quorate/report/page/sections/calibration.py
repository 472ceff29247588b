"""The section on calibration: reliability diagrams before and after calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from quorate.ensemble.arrays import Labels, Proba
from quorate.ensemble.breakdown import reliability
from quorate.ensemble.calibration_error import BrierParts, brier_parts, classwise_ece
from quorate.ensemble.metrics import ECE_BINS, ece
from quorate.ensemble.paired import Z
from quorate.ensemble.temperature_scaling import normalized_rows
from quorate.report.page.run import RunData
from quorate.report.page.section import Chart, Remark, Section, act, good, many, note, percent
from quorate.report.page.svg import Axes, drawing, rule

MATTERS = 0.005
"""Smaller differences between mean confidence and accuracy are ignored, even if they are significant. An assumption,
not a measurement."""
MANY_ROWS = 1000
"""Minimum number of rows for fitting a calibration with more than one parameter. An assumption, not a measurement."""


@dataclass(frozen=True, eq=False)
class CalibrationFigures:
    """The calibration of one set of predictions."""

    title: str
    ece: float
    classwise: float
    brier: BrierParts
    confidence: float
    accuracy: float
    gap_error: float
    """The standard error of confidence minus accuracy."""

    @property
    def gap(self) -> float:
        return self.confidence - self.accuracy


def section(run: RunData) -> Section:
    before, after = _measured("before", _pool(run), run.oof.y), _measured("after", run.oof.ensemble, run.oof.y)
    shown = [before, after]
    charts = [
        _chart(_pool(run), run.oof.y, before, "Before: the members' weighted mean"),
        _chart(run.oof.ensemble, run.oof.y, after, "After: the ensemble, cross-fitted"),
    ]
    if run.test is not None:
        tested = _measured("after, test rows", run.test.ensemble, run.test.y)
        shown.append(tested)
        charts.append(_chart(run.test.ensemble, run.test.y, tested, "The ensemble on the test rows"))
    return Section(
        "calibration",
        "Calibration",
        "If predictions are calibrated, 80 % of the rows with a confidence of 80 % are right, and the points lie on "
        "the diagonal. Below the diagonal, the ensemble is overconfident, above it underconfident. The bars at the "
        "bottom show the number of rows. A point with few rows has a wide interval.",
        list(_remarks(run, *shown)),
        {"charts": charts, "measured": shown, "rows": len(run.oof), "bins": ECE_BINS},
    )


def _pool(run: RunData) -> Proba:
    """The weighted mean of the members before their temperatures, on the out-of-fold rows."""
    own = run.weighing
    weights = np.array([run.weights[run.oof.members[place]] for place in own])
    pooled = np.zeros(run.oof.ensemble.shape)
    for weight, place in zip(weights / weights.sum(), own, strict=True):
        pooled += weight * run.oof.proba[place]
    return pooled


def _measured(title: str, proba: Proba, y: Labels) -> CalibrationFigures:
    p = normalized_rows(proba)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    error = float((confidence - right).std(ddof=1) / np.sqrt(len(y)))
    parts = brier_parts(proba, y)
    mean = float(confidence.mean())
    return CalibrationFigures(title, ece(proba, y), classwise_ece(proba, y), parts, mean, float(right.mean()), error)


def _remarks(
    run: RunData, before: CalibrationFigures, after: CalibrationFigures, tested: CalibrationFigures | None = None
) -> Iterator[Remark]:
    change = f"Calibration changes the calibration error (ECE) from {before.ece:.4f} to {after.ece:.4f}"
    noise = float(np.sqrt(after.accuracy * (1 - after.accuracy) / len(run.oof)))
    if np.isclose(before.ece, after.ece, rtol=0, atol=1e-9):
        yield note(
            "The ensemble is a single member without a temperature: calibration would not have lowered its log-loss."
        )
    elif abs(after.ece - before.ece) < noise:
        yield note(f"{change}, less than the noise of {many(len(run.oof), 'row')}: the mean was already calibrated.")
    elif after.ece < before.ece:
        yield good(f"{change}.")
    else:
        yield note(
            f"{change}: the mean was already calibrated. Calibration minimizes the log-loss, which may still be lower."
        )
    more = "try another final calibration (`final: beta` or `isotonic`)"
    if len(run.oof) < MANY_ROWS:
        more = f"{many(len(run.oof), 'row')} are few for calibration, and more rows would help"
    yield _confidence_remark("out-of-fold rows", after, act, more, more)
    if tested is not None:
        folds = "test predictions average several folds, which lowers the confidence and raises the accuracy"
        yield _confidence_remark("test rows", tested, note, "the test rows differ from the training rows", folds)


def _confidence_remark(
    rows: str, found: CalibrationFigures, cautious: Callable[[str], Remark], sure: str, unsure: str
) -> Remark:
    """Compare confidence with accuracy. `sure` explains confidence above accuracy, and `unsure` the opposite;
    `cautious` is the tone of the latter."""
    words = (
        f"on the {rows}, the mean confidence is {percent(found.confidence)} and the accuracy {percent(found.accuracy)}"
    )
    if abs(found.gap) <= Z * found.gap_error or abs(found.gap) < MATTERS:
        return good(
            f"The probabilities are calibrated: {words}; the difference is within the noise or below half a percentage "
            "point."
        )
    if found.gap > 0:
        return act(f"The ensemble is overconfident: {words}; {sure}.")
    return cautious(f"The ensemble is underconfident: {words}; {unsure}.")


def _chart(proba: Proba, y: Labels, measured: CalibrationFigures, title: str) -> Chart:
    found = reliability(proba, y)
    axes = Axes.of((0, 1), (0, 1), width=380, height=310, bottom=92, y_label="accuracy", percent="xy")
    width = 1 / ECE_BINS
    parts = [axes.frame(), axes.line([(0, 0), (1, 1)], "plain dash")]
    seen = np.flatnonzero(found.counts)
    for place in seen.tolist():
        share, rows = float(found.accuracy[place]), int(found.counts[place])
        sure = float(found.confidence[place])
        half = Z * np.sqrt(max(sure * (1 - sure), 1e-6) / rows)
        parts.append(axes.whisker(sure, max(share - half, 0), min(share + half, 1), "c1"))
    parts.append(axes.line([(float(found.confidence[k]), float(found.accuracy[k])) for k in seen], "c1"))
    for place in seen.tolist():
        share, sure = float(found.accuracy[place]), float(found.confidence[place])
        title_ = f"confidence {percent(sure)}, accuracy {percent(share)}, {many(int(found.counts[place]), 'row')}"
        parts.append(axes.dot(sure, share, "c1", title_))
    foot, most = axes.height - 34, int(found.counts.max())
    for place in seen.tolist():
        tall = 34 * int(found.counts[place]) / most
        x = axes.x(place * width)
        title_ = f"{many(int(found.counts[place]), 'row')} with a confidence from {percent(place * width, 0)}"
        parts.append(
            f'<rect class="bar plain" x="{x + 0.5:.1f}" y="{foot - tall:.1f}" '
            f'width="{axes.x(width) - axes.x(0) - 1:.1f}" height="{max(tall, 0.6):.1f}"><title>{title_}</title></rect>'
        )
    parts.append(rule(axes.x.start, foot, axes.x.end, foot, "axis"))
    parts.append(
        f'<text class="label" x="{(axes.x.start + axes.x.end) / 2:.0f}" y="{axes.height - 10:.0f}" '
        'text-anchor="middle">confidence, and number of rows</text>'
    )
    label = (
        f"Reliability diagram. {title}: mean confidence {percent(measured.confidence)}, accuracy "
        f"{percent(measured.accuracy)}, calibration error {measured.ece:.4f}."
    )
    caption = (
        f"ECE {measured.ece:.4f}; confidence {percent(measured.confidence)}, accuracy {percent(measured.accuracy)}."
    )
    return Chart(drawing(axes.width, axes.height, label, *parts), (), caption, title=title)
