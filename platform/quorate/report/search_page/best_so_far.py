"""The section on the course of a search: the best trial so far, over trials and over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from quorate.report.page.section import Chart, Section
from quorate.report.page.svg import Axes, drawing, rule, text
from quorate.report.search import trial_text
from quorate.report.search_page.data import SearchData
from quorate.runs.search_record import TrialRecord

LABELS = 4
"""Number of heights of the labels of sources, so that those of close ones do not overlap."""
UNITS = ((7200.0, 3600.0, "hours"), (300.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))
"""The units of time: each from its number of seconds on."""


def section(data: SearchData) -> Section | None:
    """The section; None if no trial has a loss."""
    if not data.scored:
        return None
    last = max((one.ended or 0.0) for one in data.scored)
    _, unit, name = next(one for one in UNITS if last >= one[0])
    by_number = _chart(data, lambda one: one.number, "trial", "Over trials", whole="x")
    by_time = _chart(data, lambda one: (one.ended or 0.0) / unit, f"{name} since the start", "Over time")
    return Section(
        "best",
        "Best so far",
        "Each dot is a trial. The line is the best complete trial so far. Dashed lines mark the first trial of each "
        "source: the member as written, the portfolio, and the method. The figure of a trial that was stopped is that "
        "of its last comparison, from fewer folds or epochs, so the line ignores it.",
        values={"charts": [by_number, by_time], "notes": data.notes},
    )


def _chart(data: SearchData, place: Callable[[TrialRecord], float], label: str, title: str, whole: str = "") -> Chart:
    bounds, log = data.figures
    last = max(map(place, data.scored)) or 1.0
    axes = Axes.of(
        (-0.02 * last, 1.02 * last),
        bounds,
        width=430,
        height=270,
        x_label=label,
        y_label=data.record.metric,
        log="y" if log else "",
    )
    parts = [axes.frame(whole=whole), *_sources(data, axes, place)]
    for one in data.scored:
        radius = 5.5 if data.is_best(one) else 3.2
        parts.append(
            axes.dot(place(one), data.figure(one), data.style(one), trial_text(one, data.record.metric), radius)
        )
    course = list(_course(data, sorted(data.complete, key=lambda one: (place(one), one.number)), place))
    if course:
        parts.append(axes.steps([*course, (last, course[-1][1])], "c2"))
    words = f"Best {data.record.metric} so far, {title.lower()}" + (
        f": from {course[0][1]:.4f} to {course[-1][1]:.4f}." if course else "; no trial is complete."
    )
    legend = [("dot c1", "complete"), ("line c2", "best so far")]
    if any(one.state != "complete" for one in data.scored):
        legend.insert(1, ("dot hollow", "stopped"))
    return Chart(drawing(axes.width, axes.height, words, *parts), tuple(legend), title=title)


def _course(
    data: SearchData, trials: Sequence[TrialRecord], place: Callable[[TrialRecord], float]
) -> Iterator[tuple[float, float]]:
    """The best figure of complete trials, where it changes."""
    best = None
    for one in trials:
        assert one.loss is not None, "it is complete"
        if best is None or one.loss < best:
            best = one.loss
            yield place(one), data.figure(one)


def _sources(data: SearchData, axes: Axes, place: Callable[[TrialRecord], float]) -> Iterator[str]:
    """A line at the first trial of each source."""
    first: dict[str, float] = {}
    for one in data.scored:
        source = one.source.partition(":")[0]
        first[source] = min(first.get(source, place(one)), place(one))
    for number, (source, at) in enumerate(sorted(first.items(), key=lambda one: one[1])):
        x = axes.x(at)
        y = axes.y.end + 9 + 13 * (number % LABELS)
        yield rule(x, axes.y.start, x, axes.y.end, "axis dash")
        yield text(x - 5, y, source, "name", "end") if x > axes.width - 90 else text(x + 5, y, source, "name")
