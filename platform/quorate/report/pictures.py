"""Draw the pictures of a run into its folder, at the end of the job or later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from quorate.plan.tasks import Plan
from quorate.report.curve_findings import Curves, History
from quorate.report.curves import member_curves, sheet
from quorate.report.plots import confusion
from quorate.results.results import Fit
from quorate.runs.folder import BOARD, RunFolder
from quorate.tracking import journal
from quorate.tracking.histories import histories
from quorate.training.curves import with_labels


def draw(folder: RunFolder, plan: Plan, fits: Mapping[str, Fit]) -> Iterator[Path]:
    """Draw the learning curves of each member (`curves-NAME`), all curves on one sheet (`curves`), and confusion
    matrices."""
    plots = folder.path / "plots"
    plots.mkdir(exist_ok=True)
    yield from draw_curves(plots, _curves_of(plan, fits), ensemble=_ensemble_loss(folder))
    for split, source in (("oof", "oof.npz"), ("test", "test.npz")):
        if (folder.path / source).exists():
            with np.load(folder.path / source) as arrays:
                proba, y = arrays["ensemble"], arrays["y"]
            rows = np.isfinite(proba).all(axis=1)
            path = plots / f"confusion-{split}.png"
            confusion(path, proba[rows], y[rows], plan.context.train.class_names, f"ensemble, {split} rows")
            yield path


def draw_curves(folder: Path, members: Mapping[str, Curves], *, ensemble: float | None) -> Iterator[Path]:
    """Draw `curves-NAME` for each member with epochs, and `curves` for all members if any has epochs."""
    with_epochs = {name: curves for name, curves in members.items() if max(map(len, curves.histories)) > 1}
    for name, curves in with_epochs.items():
        yield from member_curves(folder / f"curves-{name}", name, curves)
    if with_epochs:
        yield from sheet(folder / "curves", members, ensemble=ensemble)


def recorded_curves(folder: RunFolder) -> dict[str, Curves]:
    """The curves of a run by member, read from its journal."""
    recorded = histories(folder.path / journal.NAME)
    return _sound({name: (list(found.histories.values()), found.restored) for name, found in recorded.items()})


def redraw(folder: RunFolder, output: Path) -> list[Path]:
    """Draw the curves of a run again, even if it is running or has failed."""
    return list(draw_curves(output, recorded_curves(folder), ensemble=_ensemble_loss(folder)))


def _curves_of(plan: Plan, fits: Mapping[str, Fit]) -> dict[str, Curves]:
    found: dict[str, tuple[list[History], bool]] = {}
    for task in plan.runs:
        if task.key in fits:
            stopping = task.params.stopping_metric is not None
            found.setdefault(task.member, ([], stopping))[0].append(fits[task.key].history)
    return _sound(found)


def _sound(found: Mapping[str, tuple[list[History], bool]]) -> dict[str, Curves]:
    """The curves, without those histories that have no losses."""
    kept = {
        name: Curves(tuple(history for history in map(with_labels, all_) if history), restored)
        for name, (all_, restored) in found.items()
    }
    return {name: curves for name, curves in kept.items() if curves.histories}


def _ensemble_loss(folder: RunFolder) -> float | None:
    if not (folder.path / BOARD).is_file():
        return None
    oof = folder.board().ensemble.oof
    return oof.nll if oof is not None else None
