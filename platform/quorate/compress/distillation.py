"""Distil a finished run: train one student network on the predictions of its ensemble, and write its bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from quorate.bundle import read_manifest
from quorate.compress.student import (
    NAME,
    PLAIN,
    TrainedNetwork,
    Watch,
    plain_task,
    student_task,
    train_networks,
    training_data,
)
from quorate.compress.student_rows import rows_of_student
from quorate.compress.teacher_targets import VIEWS, Progress, TeacherTargets, mixed, out_of_fold, varied
from quorate.data.dataset import Rows
from quorate.data.folds import Folds
from quorate.data.signature import ImageSignature
from quorate.data.table import Table
from quorate.ensemble.arrays import Floats
from quorate.ensemble.metric_intervals import paired
from quorate.ensemble.metrics import rounded, row_nll, scores
from quorate.errors import UserError
from quorate.job.bundle_files import SingleNetwork, pack_alone, unseen_file
from quorate.job.fits import FitRunner
from quorate.job.planning import plan_job
from quorate.json_text import json_text
from quorate.members.base import member_of
from quorate.members.net import Net
from quorate.members.net_params import NetParams, expected_shape
from quorate.members.net_start import build_network
from quorate.plan.identity import assets_of, derive_seed
from quorate.plan.tasks import FitTask
from quorate.results.results import Results
from quorate.runs.finished import FinishedRun
from quorate.runs.folder import RunFolder
from quorate.runs.job_record import JOB_FILE
from quorate.scoring.output import writing
from quorate.spec import Job, load_job
from quorate.spec.file import Override
from quorate.training.augment import Augment
from quorate.training.curves import with_labels

FIGURES = "distillation.json"
EPOCHS = 40
"""Default number of epochs of a student: twice that of other networks, because Beyer et al. (2022, "Knowledge
distillation: a good teacher is patient and consistent") recommend long training. An assumption, not a measurement."""
TEMPERATURE = 2.0
"""Default temperature of the loss. An assumption, not a measurement."""
HARD = 0.1
"""Default weight of the labels in the loss if the ensemble predicts views. It is low, because the ensemble was trained
on these images and is rarely wrong on them."""
HARD_OUT_OF_FOLD = 0.5
"""Default weight of the labels in the loss if the targets are out-of-fold probabilities. It is higher, because these
are wrong for some rows. On the Adult data set, it was the best weight or close to it."""

_RECIPE: Mapping[str, Any] = {"kind": "net", "schedule": "one_cycle", "lr": 0.05, "epochs": EPOCHS}
"""Default parameters of a student."""


@dataclass(frozen=True)
class DistillationSettings:
    """Settings of a distillation."""

    temperature: float = TEMPERATURE
    """Temperature of the teacher's and the student's probabilities in the loss."""
    hard: float | None = None
    """Weight of the labels in the loss, 0 to 1; None for the default, which depends on the kind of targets."""
    views: int = VIEWS
    """Number of augmented views per image, or of mixtures per row of a table, that the ensemble predicts; at most the
    number of epochs. 0 uses its out-of-fold probabilities."""
    plain: bool = False
    """Whether the same network is also trained on the labels only, for comparison."""


def student_job(folder: RunFolder, *, arch: str, epochs: int | None, overrides: Sequence[str]) -> Job:
    """The run's job with the student as its only member; `overrides` are `KEY=VALUE` of a network.

    Images are augmented as for the best network of the run. Raises `SpecError`, which names the invalid option.
    """
    if kind := next((text for text in overrides if text.startswith("kind=")), None):
        raise UserError(f"--set {kind}: a student is always a network (kind net); remove this option")
    option = f"--student {arch}"
    form = dict(_RECIPE) | _augment_of_best(folder)
    given = [Override("quorum={}"), Override(f"members={json.dumps({NAME: form})}", option)]
    given.append(Override(f"members.{NAME}.arch={arch}", option))
    if epochs is not None:
        given.append(Override(f"members.{NAME}.epochs={epochs}", f"--epochs {epochs}"))
    given += [Override(f"members.{NAME}.{text}", f"--set {text}") for text in overrides]
    job = load_job(folder.path / JOB_FILE, given)
    params = job.spec.members[NAME]
    assert isinstance(params, NetParams), "its kind cannot be set"
    several = [name for name in ("copies", "ema", "swa", "snapshots") if _is_set(params, name)]
    if several:
        raise UserError(
            f"--set {several[0]}=…: this creates several members, but the student must be a single member; leave it out"
        )
    return job


def distill(
    run: FinishedRun,
    job: Job,
    settings: DistillationSettings,
    output: Path,
    runner: FitRunner,
    *,
    ask: Progress = lambda *seen: None,
    watch: Watch = lambda *seen: None,
) -> dict[str, Any]:
    """Train the student of `job` on the predictions of the run's ensemble, write its bundle, and return the metrics.

    The whole ensemble predicts the views of images, or mixtures of rows of a table, that the student is trained on.
    Without views, the targets are the cross-fitted out-of-fold probabilities, which come from models that have not seen
    the row; for rows without them, the labels are the only targets. A tenth of the rows is held out to fit the
    temperature of the student and to estimate its quality with cross-fitting. With several folds the estimate is
    slightly optimistic, because some models of the teacher were trained on the held-out rows. Raises `UserError`.
    """
    data, fold = run.context.train, rows_of_student(run)
    context = replace(run.context, folds=Folds((fold,), "held out from the student"), assets=assets_of(job.spec))
    (task,) = plan_job(job, context, runner.place).tasks
    targets = _teacher_targets(run, task, fold.train, settings, runner.results, ask)
    hard = _label_weight(settings, targets)
    tasks = [student_task(task, targets, temperature=settings.temperature, hard=hard)]
    tasks += [plain_task(task)] if settings.plain else []
    trained_on = replace(training_data(run, fold, targets), assets=context.assets)
    networks = train_networks(run, tasks, trained_on, runner, watch)
    student, plain = networks[NAME], networks.get(PLAIN)
    compared = [*_teachers(run, fold.valid), *(_row(each) for each in (student, plain) if each)]
    found = {
        "run": run.folder.name,
        "student": task.params.model_dump(mode="json")["arch"],
        "epochs": len(with_labels(student.fit.history)),
        "training": {
            "temperature": settings.temperature,
            "hard": hard,
            "rows": len(fold.train),
            "unlabelled": targets.rows - len(fold.train),
            "rows_with_teacher": targets.answered // max(targets.views, 1),
            "views": targets.views,
            "held_out": len(fold.valid),
        },
        "temperature": round(student.temperature, 6),
        "compared": compared,
        "kept": _kept(compared) if plain is not None else None,
        "against": _against(run, student, plain, fold.valid),
        "size": _sizes(run, student),
        "notes": [*run.notes, *_notes(run, task, targets)],
    }
    alone = _single_network(student, _row(student), fold.valid, len(data), run=f"{run.folder.name}/{output.name}")
    with writing(output):
        pack_alone(output, run.job.spec, data, alone, {FIGURES: json_text(found).encode()})
    return found


def _single_network(
    student: TrainedNetwork,
    figures: Mapping[str, Any],
    held: Rows,
    total: int,
    *,
    run: str,
) -> SingleNetwork:
    """The student as an ensemble of its own, with its metrics on the `held` of `total` training rows."""
    losses: Floats = np.full(total, np.nan)
    losses[held] = row_nll(student.held, student.y)
    return SingleNetwork(
        name=NAME,
        folds={0: student.files},
        temperature=student.temperature,
        run=run,
        oof=figures["held_out"],
        test=figures.get("test"),
        row_losses=losses,
        unseen=unseen_file(student.held, np.ones(len(held), dtype=bool), student.y),
    )


def _augment_of_best(folder: RunFolder) -> dict[str, Any]:
    """The augmentation of the network with the lowest out-of-fold loss, if the run has a network."""
    spec = folder.spec()
    networks = [row for row in folder.board().ranked if row.kind == "net" and row.oof is not None]
    if not networks:
        return {}
    best = networks[0].name
    return {"augment": spec.members[best.partition(".")[0]].model_dump(mode="json")["augment"]}


def _is_set(params: NetParams, name: str) -> bool:
    return bool(getattr(params, name) != type(params).model_fields[name].default)


def _teacher_targets(
    run: FinishedRun, task: FitTask, rows: Rows, settings: DistillationSettings, results: Results, ask: Progress
) -> TeacherTargets:
    assert isinstance(task.params, NetParams), "checked by student_job"
    if not settings.views:
        return out_of_fold(run, rows)
    seed = derive_seed(run.job.spec.seed, NAME, "views")
    views = min(settings.views, task.params.epochs)  # an epoch uses one view of each row
    if isinstance(run.context.train.x, Table):
        return mixed(run, rows, views=views, seed=seed, results=results, watch=ask)
    augment = task.params.augment or Augment()
    return varied(run, rows, augment, views=views, seed=seed, results=results, watch=ask)


def _label_weight(settings: DistillationSettings, targets: TeacherTargets) -> float:
    if not targets.labelled.any():
        if settings.hard:
            raise UserError(
                f"--hard {settings.hard:g}: a student of a table learns from mixtures of rows, which have no labels; "
                "leave the option out, or add --views 0 to learn from the rows themselves"
            )
        return 0.0
    return settings.hard if settings.hard is not None else HARD if targets.views else HARD_OUT_OF_FOLD


def _teachers(run: FinishedRun, held: Rows) -> list[dict[str, Any]]:
    """The metrics of the ensemble and of its best member on the leaderboard, on the same rows.

    Members that do not cover these rows, for example because of failed folds, are skipped.
    """
    y, test = run.context.train.y, run.context.test
    found = [{"name": "ensemble", "held_out": rounded(scores(run.ensemble[held], y[held]))}]
    places = {name: place for place, name in enumerate(run.members)}
    ranked = (places[row.name] for row in run.board.ranked if row.oof is not None)
    best = next(place for place in ranked if run.mask[place, held].all())
    found.append({"name": run.members[best], "held_out": rounded(scores(run.proba[best][held], y[held]))})
    if run.test is not None and test is not None:
        found[0]["test"] = rounded(scores(run.test.ensemble, test.y))
        if run.test.tested[best]:
            found[1]["test"] = rounded(scores(run.test.proba[best], test.y))
    return found


def _row(each: TrainedNetwork) -> dict[str, Any]:
    row = {"name": each.name, "held_out": rounded(scores(each.held, each.y))}
    if each.test is not None and each.y_test is not None:
        row["test"] = rounded(scores(each.test, each.y_test))
    return row


def _against(run: FinishedRun, student: TrainedNetwork, plain: TrainedNetwork | None, held: Rows) -> dict[str, Any]:
    """The paired differences of the student from the ensemble and from the plain network, on the test rows or else the
    held-out rows."""
    mine, y = student.judged
    on_held = run.test is None or student.test is None
    others = {"ensemble": run.ensemble[held] if run.test is None or student.test is None else run.test.ensemble}
    judged = run.context.train.take(held) if on_held else run.context.test
    groups = judged.groups if judged is not None else None
    if plain is not None:
        others["plain"] = plain.judged[0]
    found: dict[str, Any] = {"rows": "held_out" if student.test is None else "test"}
    for name, proba in others.items():
        differences = paired(mine, proba, y, groups=groups)
        found[name] = {metric: rounded(figure.to_json()) for metric, figure in differences.items()}
    return found


def _kept(compared: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The fraction of the ensemble's gain over the plain network that the student keeps; None if the ensemble has no
    gain."""
    by_name = {row["name"]: row for row in compared}
    rows = "test" if "test" in by_name["plain"] else "held_out"
    ensemble, student, plain = (by_name[name][rows] for name in ("ensemble", NAME, "plain"))
    shares: dict[str, Any] = {"rows": rows}
    for figure, sign in (("accuracy", 1.0), ("nll", -1.0)):
        gain = sign * (ensemble[figure] - plain[figure])
        shares[figure] = round(sign * (student[figure] - plain[figure]) / gain, 4) if gain > 0 else None
    return shares


def _sizes(run: FinishedRun, student: TrainedNetwork) -> dict[str, Any]:
    """Number of models and bytes of the ensemble's bundle and of the student."""
    manifest = read_manifest(run.folder.bundle)
    parts = [name for name in manifest.files if name.startswith("members/")]
    return {
        "ensemble": {
            "models": len(manifest.places),
            "bytes": sum((run.folder.bundle / name).stat().st_size for name in parts),
        },
        NAME: {
            "models": 1,
            "bytes": sum(map(len, student.files.values())),
            "parameters": _parameters(run, student),
        },
    }


def _parameters(run: FinishedRun, student: TrainedNetwork) -> int:
    """The number of the student's weights."""
    network, params, signature = member_of(student.files), student.fit.task.params, run.context.train.signature
    if isinstance(network, Net) and network.network is not None:
        return sum(weight.numel() for weight in network.network.parameters())
    # a user's own architecture, which is saved as ONNX, with constants that are no weights
    assert isinstance(params, NetParams) and isinstance(signature, ImageSignature), "tables have no such networks"
    made = build_network(params, shape=expected_shape(params, signature), n_classes=run.context.train.n_classes)
    return sum(weight.numel() for weight in made.parameters())


def _notes(run: FinishedRun, task: FitTask, targets: TeacherTargets) -> list[str]:
    notes: list[str] = []
    again = run.job.spec.production.refit and targets.views > 0
    if run.test is None and (again or len(run.context.folds) > 1):
        # measured optimism: 0.02 nats, over six splits of 2,000 Fashion-MNIST rows with several folds
        notes.append(
            "the held-out metrics of the student are slightly optimistic: it learned from predictions of models that "
            f"were trained on the held-out rows ({'refits on all rows' if again else 'models of other folds'}); only "
            "test rows give an unbiased estimate"
        )
    rows = len(targets.data)
    if without := rows - targets.answered:
        notes.append(
            f"{without:,} of {rows:,} rows have no out-of-fold prediction of the ensemble, so the student learns them "
            "from their labels only; with validation.scheme: kfold, all rows have one"
        )
    assert isinstance(task.params, NetParams)
    watches = task.params.schedule.kind == "plateau"
    if task.params.early_stopping is not None or watches:
        notes.append(
            f"{'schedule: plateau' if watches else 'early_stopping'} uses the held-out rows, so the student's "
            "estimate on them is optimistic"
        )
    return notes
