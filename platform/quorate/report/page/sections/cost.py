"""The section on smaller ensembles: quality against cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from quorate.ensemble.ablation import PrunedEnsemble
from quorate.ensemble.paired import Z
from quorate.quantities import format_seconds
from quorate.report.page.run import RunData
from quorate.report.page.section import Chart, Remark, Section, act, good, listed, note, percent, signed
from quorate.report.page.svg import Axes, drawing, log_span, names, span
from quorate.report.page.values import Values, matters

SAVING, LONG = 0.3, 30.0
"""A smaller ensemble is recommended if it saves at least this fraction of the fit time, and the fit time is at least
this number of seconds. Assumptions, not measurements."""


@dataclass(frozen=True)
class PruningStep:
    """One smaller ensemble, compared with the full one."""

    count: int
    gone: str
    """The member that was removed in this step."""
    left: str
    seconds: float
    accuracy: float
    nll: float
    change: str
    within: bool
    """Whether the difference from the full ensemble is within the noise."""


def section(run: RunData, values: Values) -> Section | None:
    """The section; None if there is only one member."""
    if len(run.oof.members) < 2:
        return None
    steps = list(_steps(run, values))
    charts = [*_path(values.path), *_costs(run, values)]
    return Section(
        "cost",
        "Fewer members, less cost",
        "Members are removed one by one. Each step removes the member with the smallest rise of the log-loss per "
        "second saved. The combiner is fitted again each time, with cross-fitting. If the interval of the difference "
        "to the full ensemble contains 0, these rows show no difference in quality.",
        list(_remarks(run, values, steps)),
        {"steps": steps, "charts": charts},
    )


def _steps(run: RunData, values: Values) -> Iterator[PruningStep]:
    before: set[int] = set()
    for step in values.path:
        gone = before - set(step.left)
        label = ", ".join(run.label(values.members[place]) for place in gone)
        left = [run.label(values.members[place]) for place in step.left]
        change = f"{signed(step.change.nll)} ± {step.change.nll_error:.4f}" if before else "–"
        losses, right = step.estimate.losses, step.estimate.right
        within = not matters(step.change) or step.change.nll < 0
        mean = float(losses.mean())
        yield PruningStep(len(left), label, listed(left, 8), step.cost, float(right.mean()), mean, change, within)
        before = set(step.left)


def _remarks(run: RunData, values: Values, steps: Sequence[PruningStep]) -> Iterator[Remark]:
    if len(steps) < 2:
        alone = len(run.weighing) == 1
        name = run.label(run.weighing[0])
        yield note(
            f"{name} has all the weight, so there is no smaller ensemble."
            if alone
            else "Members could not be removed here; the previous section gives the reason."
        )
        return
    whole = steps[0]
    enough = [step for step in steps if step.within]
    least = enough[-1]
    if least.count < whole.count:
        saved = 1 - least.seconds / max(whole.seconds, 1e-9)
        some = len(values.members) < len(run.weighing)
        everyone = f"the {whole.count} members with the largest weights" if some else f"all {whole.count}"
        say = act if saved >= SAVING and whole.seconds >= LONG else note
        which = f"{least.left} alone is" if least.count == 1 else f"{least.count} of the members, {least.left}, are"
        yield say(
            f"{which} as good as {everyone} within the noise: {_seconds(least.seconds)} to fit instead of "
            f"{_seconds(whole.seconds)}, {percent(saved, 0)} less."
        )
    else:
        yield good("Every smaller ensemble is clearly worse: all members contribute.")
    dearest = max(range(len(run.names)), key=lambda m: run.seconds[m])
    share = float(run.seconds[dearest] / max(run.seconds.sum(), 1e-9))
    if share >= 0.5 and len(run.names) > 2:
        yield note(
            f"{run.names[dearest]} takes {percent(share, 0)} of the total fit time, with a weight of "
            f"{run.weights[dearest]:.3f}."
        )


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else format_seconds(seconds)


def _path(path: Sequence[PrunedEnsemble]) -> Iterator[Chart]:
    """Log-loss and accuracy by number of members, with the confidence interval of the difference from the full
    ensemble."""
    if len(path) < 2:
        return
    for title, y_label in (("Log-loss by number of members", "NLL"), ("Accuracy by number of members", "accuracy")):
        loss = y_label == "NLL"
        points, errors = [], []
        for step in path:
            value = step.estimate.losses.mean() if loss else step.estimate.right.mean()
            points.append((len(step.left), float(value)))
            errors.append(Z * (step.change.nll_error if loss else step.change.accuracy_error))
        whole = points[0][1]
        ends = [value + sign * error for (_, value), error in zip(points, errors, strict=True) for sign in (-1, 1)]
        low, high = span(ends)
        bounds = (low, high) if loss else (max(low, 0.0), min(high, 1.0 + 0.03 * (1.0 - low)))
        axes = Axes.of((0.6, len(path) + 0.4), bounds, x_label="members", y_label=y_label, percent="" if loss else "y")
        parts = [
            axes.frame(whole="x", x_count=min(len(path), 8)),
            axes.line([(0.6, whole), (len(path) + 0.4, whole)], "plain dash"),
        ]
        parts.append(axes.line(points, "c1"))
        for (count, value), error in zip(points[1:], errors[1:], strict=True):
            parts.append(axes.whisker(count, value - error, value + error, "c1"))
        for count, value in points:
            said = f"{value:.4f}" if loss else percent(value, 2)
            parts.append(axes.dot(count, value, "c1", f"{count} members: {said}"))
        first, last = points[0][1], points[-1][1]
        label = f"{title}: {first:.4f} with {len(path)} members, {last:.4f} with one."
        caption = "The dashed line is the full ensemble; whiskers are 95 % intervals of the difference to it."
        yield Chart(drawing(axes.width, axes.height, label, *parts), (), caption, title=title)


def _costs(run: RunData, values: Values) -> Iterator[Chart]:
    yield _cost(run, values, run.seconds, "fit seconds", "Error against fit seconds", paths=True)
    found = [row.predict_ms for row in run.board.members]
    if any(each is not None for each in found):
        milliseconds = np.array([np.nan if each is None else each for each in found])
        yield _cost(run, values, milliseconds, "prediction ms per row", "Error against prediction time", paths=False)


def _cost(run: RunData, values: Values, costs: np.ndarray, x_label: str, title: str, *, paths: bool) -> Chart:
    """Error rate of single members and smaller ensembles against their cost, on a logarithmic scale."""
    oof = run.oof
    alone = []
    for place, member in enumerate(oof.members):
        wrong = float((oof.proba[place].argmax(axis=1) != oof.y).mean())
        if np.isfinite(costs[member]):
            alone.append((max(float(costs[member]), 1e-3), wrong, run.names[member]))
    path = []
    if paths:
        path = [(max(step.cost, 1e-3), 1 - float(step.estimate.right.mean()), len(step.left)) for step in values.path]
    weighing = run.weights > 0
    total = max(float(np.nansum(costs[weighing])), 1e-3)
    error = float((oof.ensemble.argmax(axis=1) != oof.y).mean())
    everything = [*[(x, y) for x, y, _ in alone], *[(x, y) for x, y, _ in path], (total, error)]
    axes = Axes.of(
        log_span(x for x, _ in everything),
        span((y for _, y in everything), room=0.1),
        x_label=x_label,
        y_label="error rate",
        log="x",
        percent="y",
    )
    parts = [axes.frame()]
    if len(path) > 1:
        parts.append(axes.line([(x, y) for x, y, _ in path], "c1"))
        parts += [axes.dot(x, y, "c1 small", f"{count} members: {percent(y)} wrong, {x:.1f} s") for x, y, count in path]
    for x, y, name in alone:
        parts.append(axes.dot(x, y, "c2", f"{name}: {percent(y)} wrong, {x:.2f}"))
    parts.append(axes.dot(total, error, "c3", f"ensemble: {percent(error)} wrong, {total:.1f}", radius=6))
    parts += names(axes, [(total, error, "ensemble"), *alone])
    legend = [("dot c2", "members alone"), ("dot c3", "the ensemble")]
    if len(path) > 1:
        legend.insert(1, ("line c1", "smaller ensembles"))
    said = [f"{name} {percent(y)} at {x:.2f}" for x, y, name in [(total, error, "ensemble"), *alone][:12]]
    label = f"{title}: {'; '.join(said)}"
    caption = "Points further down are better, points further left are cheaper."
    return Chart(drawing(axes.width, axes.height, label, *parts), tuple(legend), caption, title=title)
