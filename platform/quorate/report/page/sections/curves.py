"""The section on learning curves: all members on the same scale, each with its finding."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from quorate.report.curve_findings import LOG_SCALE, CurveFinding, Curves, read_curves
from quorate.report.page.run import RunData
from quorate.report.page.section import Chart, Remark, Section, act, good, listed, note
from quorate.report.page.svg import Axes, drawing, log_span, rule, span

MOST, THIN, POINTS = 24, 10, 120
"""Maximum number of members drawn, of thin lines per member, and of points per line."""
TO_DO = {
    "not learning": "find a learning rate with `quorate lr-find`, and run `quorate overfit`",
    "unsteady": "lower the learning rate, or raise the batch size",
    "overfitting": "stop early (`early_stopping`), or regularize more (`weight_decay`, `dropout`)",
    "still falling": "train for more epochs",
}


def section(run: RunData) -> Section | None:
    with_epochs = {name: curves for name, curves in run.curves.items() if curves.epochs > 1}
    without = [name for name in dict.fromkeys(n.partition(".")[0] for n in run.names) if name not in with_epochs]
    if not with_epochs:
        return None
    ranked = sorted(with_epochs, key=lambda name: _least(with_epochs[name]))[:MOST]
    shown = {name: curves for name, curves in with_epochs.items() if name in ranked}
    said = {name: read_curves(curves) for name, curves in with_epochs.items()}
    bounds = _bounds(list(shown.values()))
    charts = [_chart(name, curves, said[name], bounds) for name, curves in shown.items()]
    notes = []
    if without:
        notes.append(f"Members without epochs have no curves: {listed(without, 12)}.")
    if len(shown) < len(with_epochs):
        notes.append(f"Only the best {len(shown)} of {len(with_epochs)} members are drawn.")
    return Section(
        "curves",
        "Learning curves",
        "The loss after each epoch, on the same scale for all members. Thin lines are copies and folds, thick lines "
        "are their mean. A gap between training and validation shows memorization. If the validation curve still "
        "falls at the end, train for more epochs; if it rises, for fewer. The mark shows the best epoch.",
        list(_remarks(said)),
        {"charts": charts, "notes": notes},
    )


def _remarks(said: dict[str, CurveFinding]) -> Iterator[Remark]:
    problems = dict.fromkeys(each.name for each in said.values() if each.problem)
    for problem in problems:
        names = [name for name, each in said.items() if each.name == problem]
        todo = TO_DO.get(problem, "look at the curve")
        yield act(f"{listed(names)}: {problem}; {todo}.")
    settled = [name for name, each in said.items() if each.name == "settled"]
    if settled:
        yield good(f"{listed(settled)}: settled; the number of epochs is right.")
    short = [name for name, each in said.items() if each.name == "short"]
    if short:
        yield note(f"{listed(short)}: too few epochs for a conclusion.")


def _least(curves: Curves) -> float:
    return float(curves.mean("valid_loss")[curves.best])


def _bounds(shown: list[Curves]) -> tuple[tuple[float, float], bool]:
    """Bounds of the axis of the losses, and whether its scale is logarithmic."""
    valid = np.concatenate([curves.mean("valid_loss") for curves in shown])
    train = np.concatenate([curves.mean("train_loss") for curves in shown])
    known = np.concatenate([valid, train[np.isfinite(train)]])
    known = known[np.isfinite(known) & (known > 0)]
    if not known.size:
        return (0.0, 1.0), False
    if known.max() > LOG_SCALE * known.min():
        floor = max(float(known.min()), float(valid[np.isfinite(valid)].min()) / 10)
        return log_span([floor, float(known.max())]), True
    return (0.0, span(known)[1]), False


def _chart(name: str, curves: Curves, said: CurveFinding, bounds: tuple[tuple[float, float], bool]) -> Chart:
    (low, high), log = bounds
    last = max(map(len, curves.histories))
    axes = Axes.of(
        (1 - 0.03 * (last - 1), last + 0.03 * (last - 1)),
        (low, high),
        width=320,
        height=212,
        x_label="epoch",
        y_label="loss (nats)",
        log="y" if log else "",
    )
    parts = [axes.frame(whole="x")]
    for figure, style in (("train_loss", "c1"), ("valid_loss", "c2")):
        if len(curves.histories) > 1:
            parts += [axes.line(_points(values), f"thin {style}") for values in curves.each(figure)[:THIN]]
        parts.append(axes.line(_points(curves.mean(figure)), style))
    if curves.restored:
        for best, values in zip(curves.bests[:THIN], curves.each("valid_loss"), strict=False):
            parts.append(axes.dot(best + 1, float(values[best]), "c3 small"))
        marked = "best epochs, restored"
    else:
        place = axes.x(curves.best + 1)
        parts.append(rule(place, axes.y.start, place, axes.y.end, "line c3 dash fine"))
        parts.append(axes.dot(curves.best + 1, _least(curves), "c3"))
        marked = f"best epoch {curves.best + 1}"
    loss = _least(curves)
    label = (
        f"Learning curves of {name}: the lowest validation loss is {loss:.3f}, after epoch {curves.best + 1} of "
        f"{last}. {said.sentence}."
    )
    legend = (("line c1", "training"), ("line c2", "validation"), ("dot c3", marked))
    return Chart(
        drawing(axes.width, axes.height, label, *parts), legend, said.sentence, title=name, problem=said.problem
    )


def _points(values: np.ndarray) -> list[tuple[float, float]]:
    """One point per epoch; with many epochs, a subset that includes the last one."""
    step = max(1, math.ceil(len(values) / POINTS))
    places = sorted({*range(0, len(values), step), len(values) - 1})
    return [(place + 1.0, float(values[place])) for place in places]
