"""Pictures of a job: learning curves of a member, the confusion matrix of the ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quorate.ensemble.metrics import confusion_matrix

mpl.use("Agg")

History = list[dict[str, float]]


def learning_curves(path: Path, member: str, histories: Mapping[str, History]) -> None:
    """Loss and accuracy of every copy and fold over the epochs; the best epoch of each is marked."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for number, history in enumerate(histories.values()):
            epochs = np.arange(1, len(history) + 1)
            colour = f"C{number % 10}"
            train, valid = ([epoch[f"{split}_{metric}"] for epoch in history] for split in ("train", "valid"))
            axes.plot(epochs, train, color=colour, linestyle=":", linewidth=1)
            axes.plot(epochs, valid, color=colour, linewidth=1.4)
            best = int(np.argmin([epoch["valid_loss"] for epoch in history]))
            axes.plot(best + 1, valid[best], "o", color=colour, markersize=5)
        axes.set(xlabel="epoch", ylabel=f"{metric} (nats)" if metric == "loss" else metric)
        axes.grid(alpha=0.3)
    figure.suptitle(f"{member}: validation (line), training (dots), best epoch (circle)", fontsize=10)
    figure.savefig(path, dpi=110)


def confusion(
    path: Path, proba: NDArray[np.floating], y: NDArray[np.int64], class_names: Sequence[str], title: str
) -> None:
    """Rows are the true classes, columns the predicted ones; colours are shares of each row."""
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
