"""The section on the training of trials: learning curves, and losses at the comparisons of early stopping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from quorate.report.curve_findings import LOG_SCALE
from quorate.report.page.section import Chart, Section, many, percent
from quorate.report.page.svg import Axes, drawing, log_span, span
from quorate.report.search import metric_of, trial_text
from quorate.report.search_page.data import SearchData

WIDE, HIGH = 430, 270
Line = Sequence[tuple[float, float]]


def section(data: SearchData) -> Section | None:
    """The section; None if there are neither epochs nor comparisons."""
    charts = [*_curves(data), *_comparisons(data)]
    if not charts:
        return None
    return Section(
        "training",
        "Training of the trials",
        "Learning curves show the mean validation loss of a trial's folds after each epoch. With early stopping, the "
        "other chart shows what its decisions were based on. The mark at the end of a line shows where a trial was "
        "stopped.",
        values={"charts": charts, "notes": data.notes},
    )


def _curves(data: SearchData) -> Iterator[Chart]:
    lines = {
        one.name: [(epoch + 1.0, float(loss)) for epoch, loss in enumerate(data.curves[one.name].mean("valid_loss"))]
        for one in data.scored
        if one.name in data.curves
    }
    lines = {name: [point for point in line if np.isfinite(point[1])] for name, line in lines.items()}
    if max(map(len, lines.values()), default=0) > 1:
        last = max(x for line in lines.values() for x, _ in line)
        yield _chart(data, lines, (1.0, last), "epoch", "loss (nats)", "Learning curves", positive=True)


def _comparisons(data: SearchData) -> Iterator[Chart]:
    steps = data.record.steps
    if len(steps) < 2 or not data.scored:
        return
    lines = {
        one.name: [
            (float(place), metric_of(data.record.metric, step.loss))
            for place, step in enumerate(one.steps, start=1)
            if step.loss is not None
        ]
        for one in data.scored
    }
    yield _chart(
        data,
        lines,
        (1.0, float(len(steps))),
        "comparison",
        data.record.metric,
        "Comparisons",
        positive=data.lower_is_better,
        caption="; ".join(f"{place}: {_step(folds, part)}" for place, (folds, part) in enumerate(steps, start=1)),
    )


def _step(folds: int, part: float) -> str:
    whole = f"{folds} fold{'s' * (folds != 1)}"
    return whole if part == 1 else f"{percent(part, 0)} of the epochs of {whole}"


def _chart(
    data: SearchData,
    lines: Mapping[str, Line],
    across: tuple[float, float],
    x_label: str,
    y_label: str,
    title: str,
    *,
    positive: bool,
    caption: str = "",
) -> Chart:
    """A line per trial; the axis of losses is logarithmic if they are `positive` and differ much."""
    values = [y for line in lines.values() for _, y in line]
    log = positive and min(values) > 0 and max(values) > LOG_SCALE * min(values)
    room = 0.03 * (across[1] - across[0])
    axes = Axes.of(
        (across[0] - room, across[1] + room),
        log_span(values) if log else span(values),
        width=WIDE,
        height=HIGH,
        x_label=x_label,
        y_label=y_label,
        log="y" if log else "",
    )
    parts = [axes.frame(whole="x")]
    shown = [one for one in data.scored if lines.get(one.name)]
    for one in shown:
        style = data.style(one) if data.is_best(one) else f"{data.style(one)} fine"
        title_ = trial_text(one, data.record.metric)
        parts.append(axes.line(lines[one.name], style, title_))
        if one.state == "stopped":
            parts.append(axes.dot(*lines[one.name][-1], "plain", title_, 2.8))
    stopped = sum(one.state == "stopped" for one in shown)
    label = f"{title} of {many(len(shown), 'trial')}, of which {stopped} were stopped."
    legend = (("line c2", "best trial"), ("line c1", "complete"), ("dot hollow", "stopped"))
    return Chart(drawing(WIDE, HIGH, label, *parts), legend if stopped else legend[:2], caption, title)
