"""Write a job to the journal as a tree of MLflow runs: the job, its ensemble and members, and each member's folds."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from quorate.data.signature import ImageSignature, Signature
from quorate.ensemble.ablation import EnsembleChange
from quorate.execution.events import Cancelled, Event, Failed, Fitted, OutOfTime, Reported, Started, Stopped
from quorate.job.attempt_log import AttemptLog
from quorate.plan.tasks import ALL_ROWS, FitTask, Plan, Unit
from quorate.report.leaderboard import as_markdown
from quorate.results.results import Fit
from quorate.runs.folder import BOARD, RunFolder
from quorate.runs.job_record import JOB_FILE
from quorate.runs.leaderboard import Leaderboard, LeaderboardRow, SplitName, scores_on
from quorate.spec import JobSpec
from quorate.spec.recipe import comparable, member_recipe
from quorate.tracking.job_clock import now_ms
from quorate.tracking.journal import Journal
from quorate.tracking.ranking import MEMBERS_OF
from quorate.tracking.records import Context, Status
from quorate.tracking.timeline import write_timeline

JOB, ENSEMBLE = "job", "ensemble"
"""Names in the journal of the runs of the job and of the ensemble. The run of a member is `job/NAME`."""
SPLITS: tuple[SplitName, ...] = ("oof", "train_dev", "test")
"""Sets of rows that a leaderboard may have scores on."""
MLFLOW_NOTE = "mlflow.note.content"
"""The tag with the description of a run in Markdown, which MLflow shows on the page of the run."""
COSTS = ("fit_seconds", "predict_ms", "size_mb")
"""Additive metrics of members: the ensemble's value is the sum over the members with weight."""

_METRICS = """
- `oof_…`: scores on the training rows; each row is predicted by models that were not trained on it (out of fold).
- `test_…`: scores on the test rows. `nll` is the log-loss, `ece` the calibration error, `brier` the Brier score.
- `weight`: the member's weight in the ensemble; a member with weight 0 is not used.
- `worth_nll`: how much higher the ensemble's out-of-fold log-loss is without the member, with its standard error.
- `fit_seconds`, `predict_ms`, `size_mb`: training time, milliseconds per predicted row, and size of the files of all
  models together (one model per fold); those of the ensemble are the sums over its members with weight above 0.
- `temperature`: the logits are divided by it, for calibration.
"""
_SHOWN = ("confusion-oof", "confusion-test", "curves")
"""Plots of a run that the page of its model shows."""


log = logging.getLogger(__name__)


class Tracker:
    """Writes the events of a job to a journal. It never waits, and its errors never make a member fail.

    The run of a member starts with its first fit task and ends with its last one, so its duration is that of the
    training. `run` is the name of the run folder, and `place` has tags that say where the job runs.
    """

    def __init__(
        self, journal: Journal, spec: JobSpec, plan: Plan, *, run: str, place: Mapping[str, str] | None = None
    ) -> None:
        self._journal, self._spec, self._plan, self.run = journal, spec, plan, run
        self._attempts = AttemptLog(journal)
        self._open: dict[str, None] = {}
        self._begun: dict[str, int] = {}
        """Start times of the runs in milliseconds, by their names in the journal."""
        self._ended: dict[str, int] = {}
        """End times of the last fit task of each member in milliseconds, by the label of the member."""
        self._left = {label: {task.fold for task in plan.of(label)} for label in plan.labels}
        """The folds of each member that have not ended."""
        self._failed: set[str] = set()
        self._epochs: dict[str, set[int]] = {}
        """Epochs whose metrics are in the journal, by the name of the run."""
        self._recipes: dict[str, dict[str, Any]] = {}
        self._trials: dict[str, tuple[dict[str, Any], dict[str, str]]] = {}
        """The searched values and the tags of trials, by their labels."""
        self._compared = self._compare(plan)
        tags = {"quorate.level": "job", "quorate.host": socket.gethostname(), **(place or {})}
        params = {"seed": spec.seed, "combiner": spec.combiner.kind, "members": len(plan.labels)}
        params |= {"folds": len(plan.context.folds), "validation": plan.context.folds.reason, "data": spec.data.kind}
        self._start(JOB, run, None, tags, params, now_ms())
        self._data(JOB, "training")
        self._data(JOB, "testing")

    def add(self, plan: Plan) -> None:
        """Note that the members of this plan are trained too."""
        self._plan = plan
        self._left |= {
            label: {task.fold for task in plan.of(label)} for label in plan.labels if label not in self._left
        }
        self._compared |= self._compare(plan)

    def trial(self, plan: Plan, values: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Note that the member of this plan is a trial of a search, with these values of the searched parameters."""
        self.add(plan)
        for label in plan.labels:
            self._trials[label] = (dict(values), dict(tags))

    def trial_ended(self, task: FitTask, status: str, figures: Mapping[str, float]) -> None:
        """Write the result of a trial, whose fits are this task and those of its other folds."""
        self._member(task, now_ms())  # a trial that was reused or never began has no run yet
        uid = _member_uid(task.label)
        self._journal.metrics(uid, 0, figures)
        self._journal.tags(uid, {"quorate.status": status})
        for inner in [name for name in self._open if name.startswith(f"{uid}/")]:
            self._end(inner, "KILLED", now_ms())
        if uid in self._open:
            self._end(uid, "FAILED" if status == "failed" else "FINISHED", now_ms())

    def search_ended(
        self,
        figures: Mapping[str, float],
        tags: Mapping[str, str],
        files: Iterable[Path],
        *,
        searched: Sequence[str],
        metric: str,
    ) -> None:
        """Write the result of a search; `searched` are the parameters that all trials have, `metric` orders them."""
        self._journal.metrics(JOB, 0, figures)
        self._journal.tags(JOB, tags)
        for path in files:
            self._journal.artifact(JOB, path)
        self._journal.ranking(JOB, run=self.run, searched=searched, metric=metric)

    def not_added(self, labels: Iterable[str]) -> None:
        """Note that the job does not use these members."""
        for label in labels:
            if _member_uid(label) in self._begun:
                self._journal.tags(_member_uid(label), {"quorate.status": "not added"})

    def _compare(self, plan: Plan) -> set[str]:
        """Add the recipes of a plan's members; returns the names of the parameters in which they differ."""
        self._recipes |= {task.label: member_recipe(task.params) for task in plan.tasks}
        copies: dict[str, dict[str, dict[str, Any]]] = {}
        for task in plan.tasks:
            copies.setdefault(task.member, {})[task.label] = self._recipes[task.label]
        return comparable({member: list(recipes.values()) for member, recipes in copies.items()})

    def on(self, event: Event) -> None:
        """Write one event of the executor."""
        if not isinstance(event.task, FitTask):
            return
        uid = self._fold(event.task, now_ms())
        if isinstance(event, Started):
            host, _, process = event.worker.rpartition(":")
            worker = {"quorate.host": host, "quorate.worker_process": process}
            self._journal.tags(uid, {**worker, "quorate.attempt": str(event.attempt)})
        elif isinstance(event, Reported):
            self._epochs.setdefault(uid, set()).add(event.epoch)
            self._journal.metrics(uid, event.epoch, event.metrics)
        elif isinstance(event, Fitted):
            for epoch, figures in enumerate(event.history, start=1):
                # epochs before the checkpoint were trained in an earlier run
                if epoch not in self._epochs.get(uid, ()):
                    self._journal.metrics(uid, epoch, figures)
            if not event.complete:
                self._journal.tags(uid, {"quorate.status": "stopped early"})
            elif event.task.halved:
                self._journal.tags(uid, {"quorate.status": "half batch"})
            if event.task.until is None:  # otherwise the fold can go on
                self._end_fold(event.task, "FINISHED", now_ms())
            for other in event.others:
                self._fold(other.task, self._begun[uid])  # the same fit has trained both
                self.on(other)
        elif isinstance(event, Failed) and event.final:
            self._journal.tags(uid, {"quorate.status": event.status, "quorate.error": event.message})
            self._end_fold(event.task, "FAILED", now_ms())
        elif isinstance(event, OutOfTime):
            self._journal.tags(uid, {"quorate.status": "out of time"})
            self._end_fold(event.task, "KILLED", now_ms())
        elif isinstance(event, Stopped | Cancelled):
            self._end_fold(event.task, "KILLED", now_ms())

    def queued(self, units: Iterable[Unit]) -> None:
        """Note that the tasks of these units wait for a worker from now on."""
        self._attempts.queued(task for unit in units for task in unit.tasks)

    def attempted(self, event: Event) -> None:
        """Note when and where attempts at tasks begin and end; call it as soon as an event arrives."""
        self._attempts.on(event)

    def reused(self, fits: Iterable[Fit]) -> None:
        """Write reused fit tasks with their curves; each run ends now and has its original duration."""
        now, fits = now_ms(), list(fits)
        begun = {label: now - 1000 * max(f.seconds for f in fits if f.task.label == label) for label in _labels(fits)}
        for fit in fits:
            self._member(fit.task, int(begun[fit.task.label]))
            uid = self._fold(fit.task, now - int(1000 * fit.seconds), {"quorate.reused": "true"})
            for epoch, figures in enumerate(fit.history, start=1):
                self._journal.metrics(uid, epoch, figures, now)
            self._end_fold(fit.task, "FINISHED", now)

    def finished(self, board: Leaderboard, folder: RunFolder, bundle: Path, sizes: Mapping[str, int]) -> None:
        """Write the scores, files and model of a finished job; `sizes` has the size of each member's files in bytes."""
        sums = dict.fromkeys(COSTS, 0.0)
        for row in board.members:
            if _member_uid(row.name) not in self._begun:
                continue  # there was no time for it, so it has no run
            figures: dict[str, float | None] = {
                **_figures(row),
                "weight": round(row.weight, 4),
                "temperature": round(row.temperature, 4) if row.temperature is not None else None,
                "fit_seconds": row.fit_seconds,
                "predict_ms": row.predict_ms,
                "size_mb": round(sizes[row.name] / 1e6, 4) if row.name in sizes else None,
            }
            known = {key: value for key, value in figures.items() if value is not None}
            self._journal.metrics(_member_uid(row.name), 0, known)
            recipe = ", ".join(f"`{key}: {value}`" for key, value in self._recipes[row.name].items())
            note = f"The member `{row.name}` of the ensemble of {self.run}. Recipe: {recipe}.\n{_METRICS}"
            self._journal.tags(_member_uid(row.name), {"quorate.status": row.status, MLFLOW_NOTE: note})
            if row.weight:
                sums = {key: round(sums[key] + known[key], 4) for key in sums if key in known}
        self._ensemble(board, sums)
        metrics = _figures(board.ensemble) | sums
        self._journal.metrics(JOB, 0, metrics)
        note = as_markdown(board)
        self._journal.tags(JOB, {MLFLOW_NOTE: note})
        for name in (BOARD, "leaderboard.txt", JOB_FILE):
            self._journal.artifact(JOB, folder.path / name)
        name = self._spec.tracking.register_as or self._spec.name
        plots = [path for stem in _SHOWN if (path := folder.path / "plots" / f"{stem}.png").is_file()]
        self._journal.model(JOB, bundle=bundle, name=name, run=self.run, note=note, metrics=metrics, pictures=plots)
        self._journal.ranking(JOB, run=self.run)

    def member_values(self, changes: Mapping[str, EnsembleChange], board: Leaderboard) -> None:
        """Write the increase of the ensemble's log-loss without each member; 0 for a member without weight."""
        for row in board.members:
            uid, change = _member_uid(row.name), changes.get(row.name)
            if uid not in self._begun:
                continue
            if change is not None:
                found = {"worth_nll": round(change.nll, 5), "worth_nll_error": round(change.nll_error, 5)}
                self._journal.metrics(uid, 0, found)
            elif not row.weight:
                self._journal.metrics(uid, 0, {"worth_nll": 0.0})

    def pictures(self, paths: Iterable[Path]) -> None:
        """Write the plots of the job, and the plot `curves-NAME` for the member NAME and its copies."""
        copies: dict[str, dict[str, None]] = {}
        for task in self._plan.tasks:
            if not task.view and _member_uid(task.label) in self._begun:
                copies.setdefault(task.member, {})[_member_uid(task.label)] = None
        for path in paths:
            member = path.stem.removeprefix("curves-")
            for uid in (JOB,) if member == path.stem else copies.get(member, {}):
                self._journal.artifact(uid, path, "plots")

    def report(self, path: Path) -> None:
        """Write the report of the job."""
        self._journal.artifact(JOB, path)

    def close(self, status: Status, *, exit_code: int | None = None) -> None:
        """End every run that is open, the job last, and the journal; `exit_code` is that of an interrupted job."""
        if exit_code is not None:
            self._journal.tags(JOB, {"quorate.exit_code": str(exit_code)})
        self._write_timeline()
        for label, ended in self._ended.items():
            if _member_uid(label) in self._open:  # there was no time for some of its folds, or the job was stopped
                self._end(_member_uid(label), self._status_of(label, status), ended)
        for uid in reversed(list(self._open)):
            self._end(uid, "KILLED" if uid.count("/") > 1 and status == "FAILED" else status, now_ms())
        self._journal.close()

    def _write_timeline(self) -> None:
        """Write what is known about the attempts at tasks when the job ends, however it ends."""
        self._attempts.close()
        self._journal.tags(JOB, self._attempts.summary())
        if not self._attempts.ended:
            return
        try:
            self._journal.artifact(JOB, write_timeline(self._journal.path.parent, self._attempts.ended))
        except OSError as error:  # for example a full disk, which must not hide how the job ended
            log.warning("cannot write the timeline of the job next to %s: %s", self._journal.path, error)

    def _ensemble(self, board: Leaderboard, sums: Mapping[str, float]) -> None:
        """Write the ensemble as a run next to its members; it lasts from the start of the job until now."""
        found, best = board.ensemble, board.ensemble.best_single
        assert best is not None and best.name is not None, "make_board sets it"
        tags = {"quorate.level": "ensemble", MEMBERS_OF: self.run, "quorate.combiner": found.combiner}
        self._start(ENSEMBLE, "ensemble", JOB, tags, {"kind": "ensemble"}, self._begun[JOB])
        self._data(ENSEMBLE, "training")
        self._data(ENSEMBLE, "testing")
        figures = _figures(found) | dict(sums) | {"weight": 1.0}
        if found.temperature is not None:
            figures["temperature"] = round(found.temperature, 4)
        if best.gain is not None:
            figures["gain_over_best_member_nll"] = best.gain
        self._journal.metrics(ENSEMBLE, 0, figures)
        note = f"The ensemble of {self.run}, the weighted members together.\n{_METRICS}"
        if best.gain is not None:
            note += f"- `gain_over_best_member_nll`: how much lower its log-loss is than that of {best.name} alone.\n"
        self._journal.tags(ENSEMBLE, {"quorate.best_member": best.name, MLFLOW_NOTE: note})
        self._end(ENSEMBLE, "FINISHED", now_ms())

    def _member(self, task: FitTask, begun: int) -> None:
        """Begin the run of the task's member, unless it has begun."""
        uid = _member_uid(task.label)
        if uid in self._begun:
            return
        tags = {"quorate.level": "member", "quorate.kind": task.kind, "quorate.recipe": task.member}
        tags[MEMBERS_OF] = self.run
        params = {key: value for key, value in self._recipes[task.label].items() if key in self._compared}
        values, more = self._trials.get(task.label, ({}, {}))
        params, tags = params | values, tags | more
        self._start(uid, task.label, JOB, tags, params, begun)
        self._data(uid, "training")

    def _fold(self, task: FitTask, begun: int, tags: Mapping[str, str] | None = None) -> str:
        uid = f"{_member_uid(task.label)}/{task.fold}"
        if uid not in self._begun:
            self._member(task, begun)
            params = {**member_recipe(task.params), "member": task.member, "copy": task.copy + 1, "seed": task.seed}
            params |= task.numerics.to_json() | ({"view": task.view} if task.view else {})
            if task.fold != ALL_ROWS:
                params["fold"] = task.fold + 1
            level = "fold" if task.fold != ALL_ROWS else "all rows"  # it has no validation rows
            own = {"quorate.level": level, "quorate.key": task.key, **(tags or {})}
            self._start(uid, f"{task.label} {task.part}", _member_uid(task.label), own, params, begun)
        return uid

    def _end_fold(self, task: FitTask, status: Status, ended: int) -> None:
        """End the run of a fit task. The last fit task also ends the run of its member, and a refit extends that
        run."""
        self._end(f"{_member_uid(task.label)}/{task.fold}", status, ended)
        self._ended[task.label] = ended
        left = self._left[task.label]
        left.discard(task.fold)
        if status == "FAILED" and task.fold != ALL_ROWS:
            self._failed.add(task.label)
        if not left:
            self._end(_member_uid(task.label), self._status_of(task.label, status), ended)

    def _status_of(self, label: str, last: Status) -> Status:
        return "FAILED" if label in self._failed else last if self._left[label] else "FINISHED"

    def _start(
        self, uid: str, name: str, parent: str | None, tags: Mapping[str, str], params: Mapping[str, Any], begun: int
    ) -> None:
        self._open[uid] = None
        self._begun[uid] = begun
        self._journal.run(uid, name=name, parent=parent, tags=tags, params=params, start_ms=begun)

    def _end(self, uid: str, status: Status, ended: int) -> None:
        self._open.pop(uid, None)
        self._journal.end(uid, status, ended)

    def _data(self, uid: str, context: Context) -> None:
        """Write the rows of a run as a dataset of MLflow, if there are such rows."""
        data = self._plan.context.train if context == "training" else self._plan.context.test
        if data is None:
            return
        source = _source(self._spec, context)
        self._journal.dataset(
            uid,
            name=Path(source).name,
            source=source,
            digest=data.fingerprint,
            profile={"num_rows": len(data), **_profile(data.signature), "num_classes": data.n_classes},
            context=context,
            signature=data.signature.to_json(),
        )


def _member_uid(label: str) -> str:
    return f"{JOB}/{label}"


def _labels(fits: Iterable[Fit]) -> dict[str, None]:
    return dict.fromkeys(fit.task.label for fit in fits)


def _figures(row: LeaderboardRow) -> dict[str, float]:
    """The known scores of a member or of the ensemble as metrics, such as `oof_nll`."""
    known = {split: found for split in SPLITS if (found := scores_on(row, split)) is not None}
    named = ((f"{split}_{key}", value) for split, found in known.items() for key, value in found.model_dump().items())
    return {name: value for name, value in named if value is not None}


def _source(spec: JobSpec, context: str) -> str:
    """The source of the rows: the path or URL in the job file, or the kind of the data if there is neither."""
    named = spec.data.model_dump(mode="json")
    path = named.get("test") if context == "testing" and isinstance(named.get("test"), str) else named.get("train")
    if not isinstance(path, str):
        return str(spec.data.kind)
    return path.partition("?")[0] if "://" in path else path  # the query of a URL can hold a secret


def _profile(signature: Signature) -> dict[str, int]:
    """The size of one row."""
    if isinstance(signature, ImageSignature):
        return dict(zip(("height", "width", "channels"), signature.shape, strict=True))
    return {"num_columns": signature.size}
