"""Choose the models that each member uses for predictions: its fold models, the best of them, or one trained on all
rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from pydantic import ValidationError
from rich.console import Console

from quorate.data.folds import Fold, Folds, learnable_rows
from quorate.ensemble.metrics import nll
from quorate.job.progress import JobProgress, memory_of_members
from quorate.job.training import Trainer
from quorate.members.base import Proba
from quorate.plan.groups import Places
from quorate.plan.placement import with_measured
from quorate.plan.planner import make_plan
from quorate.plan.tasks import ALL_ROWS, FitTask, JobData, Plan
from quorate.results.oof import OofPredictions
from quorate.results.results import Fit
from quorate.spec import JobSpec, MemberParams
from quorate.training.stopping import as_loss

WATCHED = 500
"""Number of training rows on which the curves of a refit are computed (an assumption)."""


@dataclass(frozen=True)
class Production:
    """The fitted models that each member uses for predictions, and their predictions for the test rows."""

    fits: Mapping[str, Sequence[Fit]]
    """Models by the label of the member."""
    tests: Mapping[str, Proba] = field(default_factory=dict)
    """Predictions by the key of the fit task."""
    note: str = ""
    """How these models differ from all fold models, and which figures still come from the fold models; empty if they
    are the fold models."""

    def test(self, labels: Sequence[str], folds: Proba | None) -> Proba | None:
        """Probabilities (M, n, K) of the test rows, averaged over each member's models.

        They replace `folds`, the probabilities averaged over all fold models. None without test rows; zero for members
        that are not `tested`.
        """
        if folds is None:
            return None
        found = np.zeros(folds.shape, np.float64)
        for m, label in enumerate(labels):
            fits = self.fits.get(label, ())
            for fit in fits if self.tested(label) else ():
                found[m] += self.tests[fit.task.key] / np.float64(len(fits))
        return found.astype(np.float32)

    def answers(self, plan: Plan, folds: OofPredictions) -> OofPredictions:
        """The predictions `folds`, with the test predictions replaced by those of the production models."""
        if not self.note:
            return folds
        tested = np.array([self.tested(label) for label in plan.labels])
        return replace(folds, test=self.test(plan.labels, folds.test), tested=tested)

    def tested(self, label: str) -> bool:
        """Whether all models of the member have predicted the test rows."""
        fits = self.fits.get(label, ())
        return bool(fits) and all(fit.task.key in self.tests for fit in fits)


def production_models(
    trainer: Trainer, plan: Plan, work: JobProgress, weighted: Sequence[int], console: Console
) -> Production:
    """The production models of each member, as the job's `production` requires; this includes training the refits.

    `weighted` are the positions of the members with weight. Only these are trained again.
    """
    spec = trainer.job.spec
    production = from_folds(plan, work, best=spec.production.best)
    if spec.production.refit:
        labels = [plan.labels[m] for m in weighted]
        again = refit_plan(spec, plan, work, labels, trainer.place)
        later = trainer.outages.call(partial(JobProgress.found, again, trainer.results))
        count = len(again.tasks)
        console.print(f"on all rows: {count} fit task{'s' * (count != 1)}, {len(later.fits)} reused")
        trainer.tracker.reused(later.fits.values())
        trainer.complete(again, later)
        production = refitted(plan, again, production, later, labels)
    if production.note:
        console.print(production.note, markup=False, highlight=False)
    return production


def from_folds(plan: Plan, work: JobProgress, *, best: int | None) -> Production:
    """All fold models of each member, or the `best` ones with the lowest log-loss on their own validation rows.

    Only validation rows whose class occurs in the fold's training rows count; a fold without such rows comes last.
    """
    y, folds = plan.context.train.y, plan.context.folds
    counting = [learnable_rows(y, [fold], weight=plan.context.train.weight)[fold.valid] for fold in folds.folds]

    def loss(fit: Fit) -> float:
        rows = counting[fit.task.fold]
        return nll(fit.valid[rows], y[folds[fit.task.fold].valid][rows]) if rows.any() else np.inf

    fits: dict[str, list[Fit]] = {}
    for label in plan.labels:
        done = [work.fits[task.key] for task in plan.of(label) if task.key in work.fits]
        if best is not None:
            losses = [loss(fit) for fit in done]
            chosen = sorted(np.argsort(losses, kind="stable")[:best].tolist())
            done = [done[i] for i in chosen]
        fits[label] = done
    note = ""
    if best is not None:
        note = f"each member predicts with its best {best} of {len(folds)} fold models; weights, temperatures and "
        note += "conformal sets were fitted with all folds"
    return Production(fits, work.tests, note)


def refit_plan(spec: JobSpec, plan: Plan, work: JobProgress, labels: Sequence[str], places: Places) -> Plan:
    """Plan one fit task on all rows for each fit that produces one or more of the members `labels`.

    A network that stopped early is trained for the mean of its folds' best epochs.
    """
    train = plan.context.train
    watched = plan.context.folds[0].valid[:WATCHED]
    whole = Folds((Fold(np.arange(len(train)), watched),), "all rows")
    context: JobData = replace(plan.context, folds=whole)
    members = {name: _as_long(name, params, plan, work) for name, params in spec.members.items()}
    everyone = make_plan(spec.model_copy(update={"members": members}), context, places, first_fold=ALL_ROWS)
    wanted = {task.key for task in everyone.runs if any(part.label in labels for part in task.all)}
    kept = [task for run in everyone.runs if run.key in wanted for task in run.all]
    features = tuple(task for task in everyone.features if _asks(kept, task))
    return with_measured(Plan(tuple(kept), context, features), memory_of_members(work.fits.values()))


def refitted(plan: Plan, again: Plan, before: Production, work: JobProgress, labels: Sequence[str]) -> Production:
    """The production models with the finished refits in place of fold models; a member whose refit failed keeps its
    fold models."""
    fits: dict[str, Sequence[Fit]] = dict(before.fits)
    failed, stopping = [], []
    for label in labels:
        (task,) = again.of(label)
        if task.params.stopping_metric is not None:
            stopping.append(label)
        if task.key in work.fits:
            fits[label] = [work.fits[task.key]]
        else:
            failed.append(label)
    note = (
        "each member is trained again on all rows; weights, temperatures and conformal sets were fitted with the folds"
    )
    if stopping:
        note += (
            f"; for {', '.join(stopping)}, early stopping used a part of the training rows, because these members "
            "cannot reuse the number of epochs of the folds (they have `vary`, or a schedule that needs more epochs)"
        )
    if failed:
        note += f"; the refits of {', '.join(failed)} failed, so these members keep their fold models"
    return Production(fits, {**before.tests, **work.tests}, note)


def _as_long(name: str, params: MemberParams, plan: Plan, work: JobProgress) -> MemberParams:
    """`params` without early stopping; the number of epochs is the mean of the folds' best epochs.

    They are unchanged if copies vary, or if the schedule needs more epochs. The note of `refitted` names these members.
    """
    metric = params.stopping_metric
    if metric is None or params.vary:
        return params
    histories = [work.fits[task.key].history for task in plan.runs if task.member == name and task.key in work.fits]
    best = [_best_epoch(history, metric) for history in histories]
    epochs = max(1, round(float(np.mean(best)))) if best else params.model_dump()["epochs"]
    try:
        return type(params).model_validate(
            {**params.model_dump(exclude_unset=True), "epochs": epochs, "early_stopping": None}
        )
    except ValidationError:  # a warm-up or a cycle requires more epochs
        return params


def _best_epoch(history: Sequence[dict[str, float]], metric: Any) -> int:
    """The number of the best epoch, counted from 1."""
    trained = [figures for figures in history if "valid_loss" in figures]
    return int(np.argmin([as_loss(figures, metric) for figures in trained])) + 1 if trained else 1


def _asks(tasks: Sequence[FitTask], feature: Any) -> bool:
    return any(feature.backbone in task.params.frozen_backbones for task in tasks)
