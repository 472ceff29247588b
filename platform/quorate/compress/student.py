"""Train the student of a distillation, and the same network on the labels alone, in a session."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quorate.compress.teacher_targets import TeacherTargets
from quorate.data.dataset import Dataset, Inputs, JoinedImages
from quorate.data.folds import Fold, Folds
from quorate.data.table import Table
from quorate.ensemble.arrays import Floats
from quorate.ensemble.crossfit import CROSSFIT_PARTS, crossfitted_temperature, parts_of
from quorate.ensemble.dependence import Dependence
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature
from quorate.execution.events import Failed, Predicted, Reported
from quorate.job.fits import FitRunner, raise_failure
from quorate.members.base import Proba
from quorate.members.net_params import NetParams
from quorate.plan.identity import derive_seed, predict_key
from quorate.plan.procedures import by_procedure
from quorate.plan.tasks import FitTask, JobData, PredictTask
from quorate.results.results import Fit
from quorate.runs.finished import FinishedRun
from quorate.training.context import Metrics
from quorate.training.procedures import Distillation

NAME, PLAIN = "student", "plain"

Watch = Callable[[str, int, int, Metrics], None]
"""Called with the name of the network, the epoch (from 1), the number of epochs, and the metrics of the epoch."""


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network, its temperature, and its calibrated probabilities (n, K)."""

    name: str
    fit: Fit
    files: dict[str, bytes]
    temperature: float
    held: Floats
    """Cross-fitted: each part of the held-out rows is calibrated with the temperature fitted on the other parts."""
    test: Floats | None
    y: NDArray[np.int64]
    y_test: NDArray[np.int64] | None

    @property
    def judged(self) -> tuple[Floats, NDArray[np.int64]]:
        """Probabilities and labels of the test rows; without test rows, those of the held-out rows."""
        if self.test is None or self.y_test is None:
            return self.held, self.y
        return self.test, self.y_test


def student_task(task: FitTask, targets: TeacherTargets, *, temperature: float, hard: float) -> FitTask:
    """The task of the student; `task` is the fit of the same network on the labels alone."""
    content = hashlib.sha256(np.ascontiguousarray(targets.proba).tobytes() + targets.labelled.tobytes())
    procedure = Distillation(temperature, hard, targets.views)
    return by_procedure(task, procedure, label=NAME, soft=content.hexdigest(), views=targets.source)


def plain_task(task: FitTask) -> FitTask:
    """The task of the same network without a teacher, in the data of `training_data`."""
    return replace(task, label=PLAIN, fold=1)


def training_data(run: FinishedRun, fold: Fold, targets: TeacherTargets) -> JobData:
    """The data of both tasks: fold 0 is that of the student, fold 1 that of the network without a teacher."""
    data, test = run.context.train, run.context.test if run.test is not None else None
    if not targets.views:
        soft = np.full((len(data), data.n_classes), np.nan)
        soft[fold.train] = targets.proba
        folds = Folds((fold, fold), "held out from the student")
        return replace(run.context, train=replace(data, soft=soft), test=test, folds=folds, backbones={})
    views, before = targets.data, len(targets.data)
    x: Inputs
    if isinstance(views.x, Table):
        assert isinstance(data.x, Table), "the views are those of the rows"
        x = Table.joined((views.x, data.x))
    else:
        assert isinstance(views.x, JoinedImages) and not isinstance(data.x, Table), "the views are those of the rows"
        x = JoinedImages((*views.x.parts, data.x))
    weight = None
    if views.weight is not None and data.weight is not None:
        weight = np.concatenate([views.weight, data.weight])
    rows = Dataset(
        x,
        np.concatenate([views.y, data.y]),
        data.class_names,
        weight=weight,
        labels_are=data.labels_are,
        soft=np.concatenate([targets.proba, np.full((len(data), data.n_classes), np.nan, targets.proba.dtype)]),
        labelled=np.concatenate([targets.labelled, np.ones(len(data), bool)]),
    )
    own = (Fold(np.arange(before), before + fold.valid), Fold(before + fold.train, before + fold.valid))
    return replace(run.context, train=rows, test=test, folds=Folds(own, "held out from the student"), backbones={})


def train_networks(
    run: FinishedRun, tasks: Iterable[FitTask], data: JobData, runner: FitRunner, watch: Watch
) -> dict[str, TrainedNetwork]:
    """Train the networks, by their labels; raises `UserError` if one cannot be trained."""
    fits: dict[str, Fit] = {}
    tests: dict[str, Proba] = {}
    files: dict[str, dict[str, bytes]] = {}
    with runner.session(data, run.job.spec.execution) as session:
        session.submit(tasks)
        for outcome in session.outcomes():
            if isinstance(outcome, Reported):
                watch(outcome.task.label, outcome.epoch, _epochs(outcome.task), outcome.metrics)
            elif isinstance(outcome, Failed):
                label = outcome.task.fit.label if isinstance(outcome.task, PredictTask) else outcome.task.label
                raise_failure(outcome, f"the {label} network", hint="; see --set")
            elif isinstance(outcome, Predicted):
                tests[outcome.task.fit.label] = outcome.proba
            else:
                fits[outcome.task.label], files[outcome.task.label] = outcome, session.files(outcome)
                if data.test is not None:
                    session.submit([PredictTask(predict_key(outcome.task.result_key, data.test), outcome.task)])
    return {label: _calibrated(run, data, fit, files[label], tests.get(label)) for label, fit in fits.items()}


def _calibrated(
    run: FinishedRun, data: JobData, fit: Fit, files: dict[str, bytes], on_test: Proba | None
) -> TrainedNetwork:
    # the labels, groups and times of the run: rows with views have only labels
    held = run.context.train.take(data.folds[0].valid - (len(data.train) - len(run.context.train)))
    raw = fit.valid.astype(np.float64)
    temperature = fit_temperature(proba=raw, y=held.y)
    seed = derive_seed(run.job.spec.seed, NAME, "temperature")
    parts = list(parts_of(held.y, splits=CROSSFIT_PARTS, seed=seed, dependence=Dependence(held.groups, held.time)))
    return TrainedNetwork(
        name=fit.task.label,
        fit=fit,
        files=files,
        temperature=temperature,
        held=crossfitted_temperature(raw, held.y, parts),
        test=None if on_test is None else apply_temperature(proba=on_test, temperature=temperature),
        y=held.y,
        y_test=None if on_test is None or data.test is None else data.test.y,
    )


def _epochs(task: FitTask) -> int:
    """The number of epochs of a network, with those of its pretraining."""
    assert isinstance(task.params, NetParams), "a student is a network"
    before = task.params.pretrain.epochs if task.params.pretrain is not None else 0
    return before + task.params.epochs
