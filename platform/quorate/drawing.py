"""Draws the pictures of a finished run into its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from quorate.plan import Plan
from quorate.report.plots import confusion, learning_curves
from quorate.results import Fit
from quorate.runs import RunFolder
from quorate.training.curves import with_labels


def draw(folder: RunFolder, plan: Plan, fits: Mapping[str, Fit]) -> Iterator[Path]:
    """The learning curves of each member (`curves-NAME.png`) and the confusion matrices of the ensemble."""
    plots = folder.path / "plots"
    plots.mkdir(exist_ok=True)
    for member in dict.fromkeys(task.member for task in plan.tasks):
        histories = {
            f"{task.label} fold {task.fold + 1}": with_labels(fits[task.key].history)
            for task in plan.tasks
            if task.member == member and task.key in fits and with_labels(fits[task.key].history)
        }
        if any(len(history) > 1 for history in histories.values()):
            path = plots / f"curves-{member}.png"
            learning_curves(path, member, histories)
            yield path
    for split, source in (("oof", "oof.npz"), ("test", "test.npz")):
        if (folder.path / source).exists():
            with np.load(folder.path / source) as arrays:
                proba, y = arrays["ensemble"], arrays["y"]
            rows = np.isfinite(proba).all(axis=1)
            path = plots / f"confusion-{split}.png"
            confusion(path, proba[rows], y[rows], plan.context.train.class_names, f"ensemble, {split} rows")
            yield path
