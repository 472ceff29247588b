"""The section with slices: the figure of every trial against each parameter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quorate.report.page.section import Chart, Section, many
from quorate.report.page.svg import Axes, clip, drawing, rule, text
from quorate.report.search import trial_text, value_text
from quorate.report.search_page.data import SearchData
from quorate.report.search_page.parameter_axis import ParameterAxis, axes_of
from quorate.runs.search_record import TrialRecord

WIDE, HIGH = 320, 190
SPREAD = 0.5
"""Width over which the trials of a choice are spread, as a part of the distance of choices."""
GOLDEN = 0.618
"""Multiples of the golden ratio, without their integers, are spread evenly."""
LETTER = 6.4
"""Approximate width of a letter of a mark (an assumption)."""


def section(data: SearchData) -> Section | None:
    """The section; None if no trial has a loss."""
    if not data.scored:
        return None
    charts = [_chart(data, axis) for axis in axes_of(data.record, data.scored)]
    return Section(
        "slices",
        "Each parameter alone",
        f"The {data.record.metric} of each trial against one parameter; the others differ too. If the best trials lie "
        "at an end of an axis, continue there with a larger space.",
        values={"charts": charts, "notes": data.notes},
    )


def _chart(data: SearchData, axis: ParameterAxis) -> Chart:
    bounds, log = data.figures
    room = 0.0 if axis.choices else 0.03
    low, high = axis.low, axis.high
    if axis.log:
        low, high = low * (low / high) ** room, high * (high / low) ** room
    else:
        low, high = low - room * (high - low), high + room * (high - low)
    logs = ("x" if axis.log else "") + ("y" if log else "")
    axes = Axes.of((low, high), bounds, width=WIDE, height=HIGH, y_label=data.record.metric, log=logs, bottom=26)
    parts = [axes.frame(ticks="y"), *_ticks(axes, axis)]
    without = []
    for one in data.scored:
        at = axis.position(one)
        if at is None:
            without.append(one)
            continue
        place = at + _offset(one) if axis.choices else at
        title = trial_text(one, data.record.metric)
        parts.append(axes.dot(place, data.figure(one), data.style(one), title, 5.5 if data.is_best(one) else 3.2))
    best = data.record.best
    value = f"; the best trial has {value_text(best.values[axis.path])}" if best and axis.path in best.values else ""
    label = f"{data.record.metric} of {many(len(data.scored) - len(without), 'trial')} against {axis.path}{value}."
    return Chart(drawing(axes.width, axes.height, label, *parts), caption=_caption(axis, without), title=axis.path)


def _ticks(axes: Axes, axis: ParameterAxis) -> Iterator[str]:
    ticks = axis.ticks(axes.x, 5)
    letters = int((axes.x.end - axes.x.start) / max(len(ticks), 1) / LETTER)
    for tick, words in ticks:
        x = axes.x(tick)
        yield rule(x, axes.y.start, x, axes.y.start + 4, "axis")
        yield text(x, axes.y.start + 16, clip(words, max(letters, 3)), "tick", "middle", words)


def _offset(trial: TrialRecord) -> float:
    """Where a trial is drawn in the width of its choice, so that trials do not hide each other."""
    return SPREAD * (GOLDEN * trial.number % 1 - 0.5)


def _caption(axis: ParameterAxis, without: Sequence[TrialRecord]) -> str:
    if not without:
        return ""
    if all(axis.path not in one.values for one in without):
        return f"{many(len(without), 'trial')} without this parameter."
    return f"{many(len(without), 'trial')} without a value on this axis."
