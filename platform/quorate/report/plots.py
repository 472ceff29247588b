"""Draw confusion matrices and reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quorate.ensemble.breakdown import Reliability
from quorate.ensemble.metrics import confusion_matrix

mpl.use("Agg")


def confusion(
    path: Path, proba: NDArray[np.floating], y: NDArray[np.int64], class_names: Sequence[str], title: str
) -> None:
    """Draw a confusion matrix. Rows are true classes, columns are predicted classes, and colours show fractions of the
    row."""
    k = len(class_names)
    matrix = confusion_matrix(proba, y, k)
    side = min(4 + 0.35 * k, 20)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if k <= 30:
        for i, j in np.argwhere(matrix > 0):
            axes.text(
                j, i, str(matrix[i, j]), ha="center", va="center", fontsize=8, color="w" if shares[i, j] > 0.5 else "k"
            )
        axes.set_xticks(range(k), class_names, rotation=60, ha="right")
        axes.set_yticks(range(k), class_names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.savefig(path, dpi=110)


def reliability_diagram(path: Path, found: Reliability, title: str) -> None:
    """Draw accuracy against confidence, where the diagonal is perfect calibration; below it, the number of rows per
    bin."""
    bins = len(found.counts)
    edges = np.linspace(0, 1, bins + 1)
    figure = Figure(figsize=(5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    seen = found.counts > 0
    above.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    above.bar(edges[:-1][seen], found.accuracy[seen], width=1 / bins, align="edge", color="C0", alpha=0.35)
    above.plot(found.confidence[seen], found.accuracy[seen], "o-", color="C0", markersize=4)
    above.set(ylabel="accuracy", ylim=(0, 1), xlim=(0, 1), title=title)
    below.bar(edges[:-1], found.counts, width=1 / bins, align="edge", color="0.5")
    below.set(xlabel="confidence", ylabel="rows")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
