"""Estimate the errors of a finished run's ensemble and members on training, validation, train-dev and test rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.bundle import BundleError, read_manifest, verified_manifest
from quorate.data.dataset import Rows
from quorate.data.signature import ImageSignature
from quorate.ensemble.metrics import row_nll
from quorate.job.train_dev import TRAIN_DEV
from quorate.members.base import load_member
from quorate.report.curve_findings import Curves
from quorate.report.diagnosis import Estimate, Evidence, error_rate, error_rate_of_groups, exactly, mean_loss
from quorate.report.remedies import MemberTraits
from quorate.runs.finished import ReopenError, reopen_job
from quorate.runs.folder import RunFolder
from quorate.tracking import journal
from quorate.tracking.histories import MemberHistory, histories

SAMPLE = 2000
"""Maximum number of training rows, over all folds, that the final models predict, to limit the time. An assumption, not
a measurement."""
RUNNING = (
    "the training error is the mean over the last epoch, during training, with augmentation and dropout; it is not "
    "the error of the final weights"
)

Proba = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TrainingAnswers:
    """Predictions of the fold models for rows that they were trained on, of each member and of the ensemble."""

    proba: dict[str, Proba] = field(default_factory=dict)
    y: dict[str, Labels] = field(default_factory=dict)
    groups: dict[str, Labels] = field(default_factory=dict)
    """Group of each predicted row; without groups in the data, each row is its own group."""
    note: str = ""
    """The reason why there are no predictions; empty if there are some."""


def gather_evidence(folder: RunFolder, *, target: float, measure: str) -> list[Evidence]:
    """Evidence on the ensemble, then on its members in leaderboard order; raises `RunError` if the run is not finished.

    `measure` is `error` (the fraction of wrong predictions) or `loss` (nats). Training errors are measured with the
    fold models in the bundle, on at most `SAMPLE` rows that they were trained on. If the models are not available, the
    training metrics of the last recorded epoch are used.
    """
    board = folder.board()
    estimate = _ESTIMATES[measure]
    oof = folder.arrays("oof.npz")
    test, aside = folder.arrays_if_any("test.npz"), folder.arrays_if_any(f"{TRAIN_DEV}.npz")
    recorded = histories(folder.path / journal.NAME) if (folder.path / journal.NAME).is_file() else {}
    trained = training_answers(folder)
    spec, images = folder.spec(), isinstance(read_manifest(folder.bundle).input.signature, ImageSignature)
    known = np.isfinite(oof["ensemble"]).all(axis=1)
    groups = oof.get("groups")
    learnable = oof.get("learnable", np.ones(len(oof["y"]), bool))  # runs of older versions use all rows
    whole = Evidence(
        name="ensemble",
        measure=measure,
        target=exactly(target),
        train=_of(trained, "ensemble", estimate),
        train_note=trained.note,
        valid=estimate(oof["ensemble"][known], oof["y"][known], groups[known] if groups is not None else None),
        train_dev=estimate(aside["ensemble"], aside["y"], aside.get("groups")) if aside else None,
        test=estimate(test["ensemble"], test["y"], test.get("groups")) if test else None,
    )
    parts = [whole]
    for m, row in enumerate(board.members):
        name, covered = row.name, oof["mask"][m] & learnable
        curves, rows = _curves(name, recorded), int(covered.sum())
        params = spec.members[name.partition(".")[0]].model_dump(mode="json")
        train, note = _of(trained, name, estimate), ""
        if train is None:
            train, note = _from_history(curves, measure, rows=rows)
        own_aside = list(aside["proba"][aside["members"] == name]) if aside else []
        parts.append(
            Evidence(
                name=name,
                measure=measure,
                target=exactly(target),
                train=train,
                train_note=note,
                valid=estimate(
                    oof["proba"][m, covered], oof["y"][covered], groups[covered] if groups is not None else None
                )
                if rows
                else None,
                train_dev=estimate(own_aside[0], aside["y"], aside.get("groups")) if aside and own_aside else None,
                test=estimate(test["proba"][m], test["y"], test.get("groups"))
                if test and row.test is not None
                else None,
                folds=_folds(curves, rows) if measure == "error" else (),
                curves=curves if curves is not None and curves.epochs > 1 else None,
                recipe=MemberTraits(row.kind, params, images),
            )
        )
    return parts


def training_answers(folder: RunFolder) -> TrainingAnswers:
    """Predict rows with the fold models that were trained on them; all members of a fold predict the same rows."""
    try:
        manifest = verified_manifest(folder.bundle)
        _, context = reopen_job(folder)
    except ReopenError as error:
        return TrainingAnswers(note=f"{error.reason}, so the training rows are not available")
    except BundleError as error:
        return TrainingAnswers(note=f"the models of the run cannot be read ({_short(error)})")
    combination = manifest.combination.combination()
    random = np.random.default_rng(0)
    each = max(1, SAMPLE // len(context.folds))
    proba: dict[str, list[Proba]] = {}
    labels: dict[str, list[Labels]] = {}
    groups: dict[str, list[Labels]] = {}
    for number, fold in enumerate(context.folds.folds):
        rows: Rows = np.sort(random.choice(fold.train, min(each, len(fold.train)), replace=False))
        asked = context.train.take(rows)
        clusters = asked.groups if asked.groups is not None else rows  # several fold models predict one row
        answers = np.zeros((len(manifest.members), len(rows), context.train.n_classes), np.float32)
        present = np.zeros(len(manifest.members), bool)
        for m, member in enumerate(manifest.members):
            place = f"members/{member.name}/{number}"
            if place not in member.folds:
                continue
            try:
                answers[m] = load_member(folder.bundle / place).predict_proba(asked.x)
            except (ValueError, KeyError, OSError, RuntimeError) as error:
                return TrainingAnswers(note=f"member {member.name} cannot predict the training rows ({_short(error)})")
            present[m] = True
            proba.setdefault(member.name, []).append(answers[m])
            labels.setdefault(member.name, []).append(asked.y)
            groups.setdefault(member.name, []).append(clusters)
        weighing = combination.weights > 0
        if (present & weighing).sum() == weighing.sum():
            proba.setdefault("ensemble", []).append(combination.apply(answers, present))
            labels.setdefault("ensemble", []).append(asked.y)
            groups.setdefault("ensemble", []).append(clusters)
    return TrainingAnswers(
        {name: np.concatenate(some) for name, some in proba.items()},
        {name: np.concatenate(some) for name, some in labels.items()},
        {name: np.concatenate(some) for name, some in groups.items()},
    )


def _error(proba: Proba, y: Labels, groups: Labels | None) -> Estimate:
    return error_rate_of_groups(proba.argmax(axis=1) != y, groups)


def _loss(proba: Proba, y: Labels, groups: Labels | None) -> Estimate:
    return mean_loss(row_nll(proba.astype(np.float64), y), groups)


Estimates = Callable[[Proba, Labels, Labels | None], Estimate]
"""An estimate from probabilities (n, K), labels (n,) and the groups of rows (n,), if any."""

_ESTIMATES: Mapping[str, Estimates] = {"error": _error, "loss": _loss}


def _of(trained: TrainingAnswers, name: str, estimate: Estimates) -> Estimate | None:
    if name not in trained.proba:
        return None
    return estimate(trained.proba[name], trained.y[name], trained.groups.get(name))


def _from_history(curves: Curves | None, measure: str, *, rows: int) -> tuple[Estimate | None, str]:
    """Training metrics of the last epoch; for members without epochs, those of the finished member."""
    name = "train_accuracy" if measure == "error" else "train_loss"
    if curves is None or not np.isfinite(curves.mean(name)[-1:]).all() or not rows:
        return None, "the training error is unknown"
    value = float(curves.mean(name)[-1])
    note = RUNNING if curves.epochs > 1 else ""
    if measure == "error":
        return error_rate(round((1 - value) * rows), rows), note
    return exactly(value), note  # the history has no standard error


def _curves(label: str, recorded: Mapping[str, MemberHistory]) -> Curves | None:
    """The learning curves of all folds of one copy."""
    found = recorded.get(label.partition(".")[0])
    if found is None:
        return None
    own = [history for name, history in found.histories.items() if name.rpartition(" fold ")[0] == label]
    own = [history for history in own if "valid_loss" in history[-1]]
    return Curves(tuple(own), found.restored) if own else None


def _folds(curves: Curves | None, rows: int) -> tuple[tuple[float, float], ...]:
    if curves is None or len(curves.histories) < 2:
        return ()
    return tuple(_fold_errors(curves, rows / len(curves.histories)))


def _fold_errors(curves: Curves, rows: float) -> Iterator[tuple[float, float]]:
    for accuracy, best in zip(curves.each("valid_accuracy"), curves.bests, strict=True):
        yield rows, 1 - float(accuracy[best if curves.restored else -1])


def _short(error: Exception) -> str:
    if isinstance(error, BundleError) or str(error):
        return str(error).strip().splitlines()[0]
    return type(error).__name__
