"""The section with parallel coordinates: each trial as a line through its values and its figure."""

from __future__ import annotations

from collections.abc import Sequence

from quorate.report.page.section import Chart, Section
from quorate.report.page.svg import Scale, clip, drawing, polyline, rule, text
from quorate.report.search import trial_text
from quorate.report.search_page.data import SearchData
from quorate.report.search_page.parameter_axis import axes_of
from quorate.runs.search_record import TrialRecord

LEFT, TOP, BOTTOM, OTHER = 64.0, 52.0, 350.0, 30.0
"""The first axis, the ends of axes, and the distance of the place for trials without a value."""
WIDTH, CLOSE, FAR = 1080.0, 108.0, 230.0
"""The width that a drawing fills, with axes that are neither closer nor farther from each other than these numbers."""
RANKS = 5
"""Number of shades of the complete trials."""


def section(data: SearchData) -> Section | None:
    """The section; None if no trial has a loss."""
    if not data.scored:
        return None
    return Section(
        "parallel",
        "Parallel coordinates",
        "Each line is a trial. It crosses the axes at its values; the last axis is its figure. The stronger a line, "
        "the better the trial among the complete ones. Where lines of good trials meet on an axis, there is a good "
        "value. A line passes below an axis if the trial does not have the parameter, or the axis does not contain "
        "its value.",
        values={"chart": _chart(data), "notes": data.notes},
    )


def _chart(data: SearchData) -> Chart:
    axes = axes_of(data.record, data.scored)
    scales = [axis.scale(BOTTOM, TOP) for axis in axes]
    bounds, log = data.figures
    last = Scale(*bounds, BOTTOM, TOP, log)
    step = min(max((WIDTH - LEFT - 70) / max(len(axes), 1), CLOSE), FAR)
    places = [LEFT + step * number for number in range(len(axes) + 1)]
    missing = [axis.missing(data.scored) for axis in axes]
    parts = []
    for one in data.scored:
        heights = [
            scale(at) if (at := axis.position(one)) is not None else BOTTOM + OTHER
            for axis, scale in zip(axes, scales, strict=True)
        ]
        heights.append(last(data.figure(one)))
        parts.append(
            polyline(zip(places, heights, strict=True), _style(data, one), trial_text(one, data.record.metric))
        )
    for number, (axis, scale, x) in enumerate(zip(axes, scales, places, strict=False)):
        parts += _axis(axis.path, axis.ticks(scale, 5), scale, x, number)
        if missing[number]:
            parts.append(text(x, BOTTOM + OTHER + 4, clip(missing[number], 16), "name", "middle"))
    ticks = [(tick, f"{tick:g}") for tick in last.ticks(6)]
    parts += _axis(data.record.metric, ticks, last, places[-1], len(axes))
    height = BOTTOM + (OTHER if any(missing) else 0) + 18
    label = (
        f"Parallel coordinates of {len(data.scored)} trials over {', '.join(axis.path for axis in axes)} and "
        f"{data.record.metric}."
    )
    legend = [("line c2", "best trial"), ("line c1", "complete, better ones stronger")]
    if any(one.state != "complete" for one in data.scored):
        legend.append(("line hollow", "stopped"))
    return Chart(drawing(places[-1] + 70, height, label, *parts, style="natural"), tuple(legend))


def _axis(name: str, ticks: Sequence[tuple[float, str]], scale: Scale, x: float, number: int) -> list[str]:
    """An axis with its marks; names of neighbours have different heights, so that long ones do not overlap."""
    parts = [
        rule(x, BOTTOM, x, TOP, "axis"),
        text(x, TOP - (34 if number % 2 else 16), clip(name, 30), "label", "middle", name),
    ]
    for tick, words in ticks:
        y = scale(tick)
        parts += [rule(x - 4, y, x, y, "axis"), text(x - 7, y + 4, clip(words, 13), "name", "end", words)]
    return parts


def _style(data: SearchData, trial: TrialRecord) -> str:
    if data.is_best(trial):
        return "c2"
    if trial.state != "complete":
        return "plain fine dash faint"
    return f"c1 fine rank{1 + RANKS * data.ranks[trial.name] // len(data.ranks)}"
