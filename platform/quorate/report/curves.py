"""Draw learning curves: one picture per member, and one sheet with all members."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from quorate.report.curve_findings import LOG_SCALE, CurveFinding, Curves, read_curves

mpl.use("Agg")
mpl.rcParams["svg.hashsalt"] = "quorate"  # so that the same curves give the same file

TRAIN, VALID, BEST, ENSEMBLE = "C0", "C1", "C2", "0.25"
FORMATS = (".png", ".svg")
MOST = 60
"""Maximum number of members on one sheet."""
_DPI = 110
"""Resolution of PNG files in dots per inch."""
_LEFT, _RIGHT, _GAP = 0.06, 0.985, 0.06
"""Left and right margin and gap of a member's picture, as fractions of the figure's width."""

Floats = NDArray[np.float64]


def member_curves(stem: Path, member: str, curves: Curves) -> list[Path]:
    """Draw all metrics by epoch: thin lines for copies and folds, a thick line for their mean, and a mark at the best
    epoch.

    Writes one file per format: `stem` with each suffix in `FORMATS`.
    """
    figure = Figure(figsize=(10, 6.2), dpi=_DPI)
    figure.subplots_adjust(left=_LEFT, right=_RIGHT, bottom=0.07, top=0.875, hspace=0.32)
    rest = [
        panel
        for name, panel in (("lr", _rate), ("grad_norm", _gradient), ("seconds", _seconds))
        if np.isfinite(np.concatenate(curves.each(name))).any()
    ]
    rows = figure.add_gridspec(2, 1, height_ratios=(2.1, 1))
    for row, panels in enumerate(([_loss, _accuracy], rest)):
        for place, panel in zip(_split_row(rows[row, 0], len(panels)), panels, strict=True):
            panel(figure.add_subplot(place), curves)
    said = read_curves(curves)
    many = f"{len(curves.histories)} fit tasks thin, their mean thick" if len(curves.histories) > 1 else "one fit task"
    figure.suptitle(f"{member}  ({many})\n{said.sentence}", fontsize=11, color=_colour(said))
    return _save(figure, stem)


def _split_row(row: SubplotSpec, count: int) -> Iterator[SubplotSpec]:
    """Split a row into `count` places, with room for axis labels between them."""
    if count:
        width = (_RIGHT - _LEFT - (count - 1) * _GAP) / count
        cells = row.subgridspec(1, count, wspace=_GAP / width)
        yield from (cells[0, column] for column in range(count))


def sheet(stem: Path, members: Mapping[str, Curves], *, ensemble: float | None) -> list[Path]:
    """Draw the losses of all members on the same scale, and the cross-fitted log-loss of the `ensemble` as a line.

    Members without epochs are horizontal lines. With more than `MOST` members, only the best ones are drawn.
    """
    ranked = sorted(members, key=lambda name: float(members[name].mean("valid_loss")[members[name].best]))
    shown = [name for name in members if name in set(ranked[:MOST])]
    columns = min(math.ceil(math.sqrt(len(shown))) + (len(shown) > 4), 6, len(shown))
    rows = math.ceil(len(shown) / columns)
    width, height = max(3.1 * columns, 6.5), 2.5 * rows + 0.8
    figure = Figure(figsize=(width, height), dpi=_DPI)
    figure.subplots_adjust(
        left=0.6 / width, right=1 - 0.1 / width, bottom=0.7 / height, top=1 - 0.4 / height, wspace=0.08, hspace=0.36
    )
    every = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, name in zip(every, shown, strict=False):
        curves = members[name]
        said = read_curves(curves) if curves.epochs > 1 else CurveFinding("level", False, "")
        if curves.epochs > 1:
            _lines(axes, curves, "train_loss", TRAIN)
            _lines(axes, curves, "valid_loss", VALID)
            _mark_best(axes, curves)
            _epochs(axes, curves)
        else:
            for figure_name, colour in (("train_loss", TRAIN), ("valid_loss", VALID)):
                axes.axhline(float(curves.mean(figure_name)[0]), color=colour, linewidth=2)
            axes.set_xticks([])
            axes.set_xlabel("no epochs", fontsize=8)
        if ensemble is not None:
            axes.axhline(ensemble, color=ENSEMBLE, linestyle="--", linewidth=1.2)
        word = f": {said.name}" if said.problem else ""
        axes.set_title(f"{name}{word}", fontsize=9, color=_colour(said))
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
    for axes in every[len(shown) :]:
        axes.set_axis_off()
    for row in range(rows):
        every[row * columns].set_ylabel("loss (nats)", fontsize=8)
    _scale(every[0], [members[name] for name in shown], ensemble)
    _legend(figure, ensemble, left_out=len(members) - len(shown))
    return _save(figure, stem)


def _loss(axes: Axes, curves: Curves) -> None:
    _lines(axes, curves, "train_loss", TRAIN, "training")
    _lines(axes, curves, "valid_loss", VALID, "validation")
    _mark_best(axes, curves)
    _scale(axes, [curves], None)
    _finish(axes, curves, "loss (nats)")


def _accuracy(axes: Axes, curves: Curves) -> None:
    _lines(axes, curves, "train_accuracy", TRAIN, "training accuracy")
    _lines(axes, curves, "valid_accuracy", VALID, "validation accuracy")
    epochs = np.arange(1, curves.epochs + 1)
    for name, style in (("precision", "--"), ("recall", ":")):
        values = curves.mean(f"valid_{name}")
        if np.isfinite(values).any():
            axes.plot(epochs, values, color="C3", linestyle=style, linewidth=1.3, label=f"validation {name} (macro)")
    _mark_best(axes, curves, name="valid_accuracy")
    _finish(axes, curves, "accuracy, precision, recall")


def _rate(axes: Axes, curves: Curves) -> None:
    _lines(axes, curves, "lr", "C4")
    _logarithmic(axes, curves, "lr")
    _finish(axes, curves, "learning rate")


def _gradient(axes: Axes, curves: Curves) -> None:
    _lines(axes, curves, "grad_norm", "C5")
    _logarithmic(axes, curves, "grad_norm")
    _finish(axes, curves, "gradient norm")


def _seconds(axes: Axes, curves: Curves) -> None:
    _lines(axes, curves, "seconds", "0.4")
    axes.set_ylim(bottom=0)
    _finish(axes, curves, "seconds per epoch")


def _lines(axes: Axes, curves: Curves, name: str, colour: str, label: str | None = None) -> None:
    """Draw copies and folds as thin lines, and their mean as a thick line."""
    if len(curves.histories) > 1:
        lines = [np.column_stack([np.arange(1, len(values) + 1), values]) for values in curves.each(name)]
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.7, alpha=0.4))
    marker = "." if curves.epochs < 3 else ""
    mean = curves.mean(name)
    axes.plot(np.arange(1, len(mean) + 1), mean, color=colour, linewidth=2.2, label=label, marker=marker)
    axes.autoscale_view()


def _mark_best(axes: Axes, curves: Curves, name: str = "valid_loss") -> None:
    """Mark the best epoch of the mean; with restored weights, that of each copy and fold."""
    if curves.restored:
        points = [(best + 1, values[best]) for best, values in zip(curves.bests, curves.each(name), strict=True)]
        axes.plot(*zip(*points, strict=True), "o", color=BEST, markersize=4, label="best epochs, restored")
        return
    best = curves.best
    axes.axvline(best + 1, color=BEST, linewidth=1, linestyle="-.")
    label = f"best epoch {best + 1} (lowest validation loss)"
    axes.plot(best + 1, curves.mean(name)[best], "o", color=BEST, markersize=6, label=label)


def _scale(axes: Axes, drawn: Iterable[Curves], ensemble: float | None) -> None:
    """Scale the axis to the validation losses, logarithmic if they span a large ratio."""
    losses = np.concatenate([curves.mean("valid_loss") for curves in drawn] + [np.array([ensemble or math.nan])])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    if not losses.size:
        return
    low, high = float(losses.min()), float(losses.max())
    if high > LOG_SCALE * low:
        axes.set_yscale("log")
        axes.set_ylim(0.25 * low, 1.3 * high)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3) if high < 100 * low else (1,)))
        axes.yaxis.set_minor_locator(NullLocator())  # drawing minor ticks takes as long as everything else
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_ylim(0, 1.1 * high)


def _logarithmic(axes: Axes, curves: Curves, name: str) -> None:
    values = np.concatenate(curves.each(name))
    values = values[np.isfinite(values) & (values > 0)]
    if values.size and values.max() > 20 * values.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)


def _epochs(axes: Axes, curves: Curves) -> None:
    last = max(map(len, curves.histories))
    axes.set_xlim(1 - 0.02 * last, last + 0.02 * last)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def _finish(axes: Axes, curves: Curves, title: str) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel("epoch", fontsize=8)
    _epochs(axes, curves)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, framealpha=0.7)


def _legend(figure: Figure, ensemble: float | None, *, left_out: int) -> None:
    entries: list[tuple[Any, str]] = [
        (Line2D([], [], color=TRAIN, linewidth=2), "training"),
        (Line2D([], [], color=VALID, linewidth=2), "validation"),
        (Line2D([], [], color=BEST, marker="o", linestyle="-."), "best epoch"),
    ]
    if ensemble is not None:
        entries.append((Line2D([], [], color=ENSEMBLE, linestyle="--"), f"ensemble, out of fold: {ensemble:.3f}"))
    handles, labels = zip(*entries, strict=True)
    figure.legend(handles, labels, loc="lower center", ncols=len(entries), fontsize=8, frameon=False)
    if left_out:
        figure.suptitle(f"the best {MOST} of {MOST + left_out} members", fontsize=10)


def _colour(said: CurveFinding) -> str:
    return "#b3261e" if said.problem else "0.1"


def _save(figure: Figure, stem: Path) -> list[Path]:
    """Write with each canvas directly, because `savefig` would draw the figure twice per file."""
    picture, drawing = (stem.with_name(stem.name + ending) for ending in FORMATS)
    FigureCanvasAgg(figure).print_png(picture)  # type: ignore[no-untyped-call]
    FigureCanvasSVG(figure).print_svg(drawing, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return [picture, drawing]
