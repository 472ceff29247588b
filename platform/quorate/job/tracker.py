"""Mirrors a job into the journal as MLflow's tree of runs: the job, its members and ensemble, each member's folds."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quorate.data.signature import ImageSignature, Signature
from quorate.ensemble.worth import EnsembleChange
from quorate.execution.events import Cancelled, Event, Failed, Fitted, OutOfTime, Reported, Started, Stopped
from quorate.plan.tasks import ALL_ROWS, FitTask, Plan
from quorate.report.leaderboard import as_markdown
from quorate.results.results import Fit
from quorate.runs.folder import RunFolder
from quorate.runs.leaderboard import Leaderboard, LeaderboardRow, SplitName, scores_on
from quorate.spec import JobSpec
from quorate.spec.recipe import comparable, member_recipe
from quorate.tracking.journal import Journal
from quorate.tracking.ranking import MEMBERS_OF
from quorate.tracking.records import Context, Status

JOB, ENSEMBLE = "job", "ensemble"
"""The names in the journal of the job's own run, and of the ensemble's; a member's is `job/NAME`."""
SPLITS: tuple[SplitName, ...] = ("oof", "train_dev", "test")
"""Rows that a leaderboard may have scores on."""
MLFLOW_NOTE = "mlflow.note.content"
"""The tag that MLflow's page of a run shows as its description, in Markdown."""
COSTS = ("fit_seconds", "predict_ms", "size_mb")
"""Metrics of members that add up: the ensemble's are the sums over the members that have a weight."""

_METRICS = """
- `oof_…`: scores on the training rows, each row predicted by models that were not trained on it (out of fold).
- `test_…`: scores on the test rows. `nll` is the log-loss, `ece` the calibration error, `brier` the Brier score.
- `weight`: the share in the ensemble; the ensemble does without a member of weight 0.
- `worth_nll`: how much higher the ensemble's out-of-fold log-loss is without the member, with its standard error.
- `fit_seconds`, `predict_ms`, `size_mb`: training time, milliseconds per predicted row, and size of the files of all
  models together (one model for each fold); those of the ensemble are the sums over its members of a weight above 0.
- `temperature`: the logits are divided by it, for calibration.
"""
_SHOWN = ("confusion-oof", "confusion-test", "curves")
"""Plots of a run that the page of its model links to."""


class Tracker:
    """Writes what happens into a journal; it never waits and never fails a member.

    A member's run begins with its first fit task and ends with its last one, so that its duration is that of its
    training. `run` is the name of the run folder.
    """

    def __init__(self, journal: Journal, spec: JobSpec, plan: Plan, *, run: str) -> None:
        self._journal, self._spec, self._plan, self._run = journal, spec, plan, run
        self._open: dict[str, None] = {}
        self._begun: dict[str, int] = {}
        """When the runs began, in milliseconds, by their names in the journal."""
        self._ended: dict[str, int] = {}
        """When the last fit task of a member ended, by the member's label."""
        self._left = {label: {task.fold for task in plan.of(label)} for label in plan.labels}
        """The folds of each member that have not ended."""
        self._failed: set[str] = set()
        self._epochs: dict[str, set[int]] = {}
        """Epochs whose figures the journal has, by the run."""
        self._recipes = {task.label: member_recipe(task.params) for task in plan.tasks}
        copies: dict[str, dict[str, dict[str, Any]]] = {}
        for task in plan.tasks:
            copies.setdefault(task.member, {})[task.label] = self._recipes[task.label]
        self._compared = comparable({member: list(recipes.values()) for member, recipes in copies.items()})
        tags = {"quorate.level": "job", "quorate.host": socket.gethostname()}
        params = {"seed": spec.seed, "combiner": spec.combiner.kind, "members": len(plan.labels)}
        params |= {"folds": len(plan.context.folds), "validation": plan.context.folds.reason, "data": spec.data.kind}
        self._start(JOB, run, None, tags, params, _now())
        self._data(JOB, "training")
        self._data(JOB, "testing")

    def on(self, event: Event) -> None:
        """One event of the executor."""
        if not isinstance(event.task, FitTask):
            return
        uid = self._fold(event.task, _now())
        if isinstance(event, Started):
            host, _, process = event.worker.rpartition(":")
            worker = {"quorate.host": host, "quorate.worker_process": process}
            self._journal.tags(uid, {**worker, "quorate.attempt": str(event.attempt)})
        elif isinstance(event, Reported):
            self._epochs.setdefault(uid, set()).add(event.epoch)
            self._journal.metrics(uid, event.epoch, event.metrics)
        elif isinstance(event, Fitted):
            for epoch, figures in enumerate(event.history, start=1):
                if epoch not in self._epochs.get(uid, ()):  # from before its checkpoint, in another run
                    self._journal.metrics(uid, epoch, figures)
            if not event.complete:
                self._journal.tags(uid, {"quorate.status": "stopped early"})
            self._end_fold(event.task, "FINISHED", _now())
            for other in event.others:
                self._fold(other.task, self._begun[uid])  # they were trained together
                self.on(other)
        elif isinstance(event, Failed) and event.final:
            self._journal.tags(uid, {"quorate.status": event.status, "quorate.error": event.message})
            self._end_fold(event.task, "FAILED", _now())
        elif isinstance(event, OutOfTime):
            self._journal.tags(uid, {"quorate.status": "out of time"})
            self._end_fold(event.task, "KILLED", _now())
        elif isinstance(event, Stopped | Cancelled):
            self._end_fold(event.task, "KILLED", _now())

    def reused(self, fits: Iterable[Fit]) -> None:
        """Fit tasks of earlier work, with their curves: each as long as it took then, and ending now."""
        now, fits = _now(), list(fits)
        begun = {label: now - 1000 * max(f.seconds for f in fits if f.task.label == label) for label in _labels(fits)}
        for fit in fits:
            self._member(fit.task, int(begun[fit.task.label]))
            uid = self._fold(fit.task, now - int(1000 * fit.seconds), {"quorate.reused": "true"})
            for epoch, figures in enumerate(fit.history, start=1):
                self._journal.metrics(uid, epoch, figures, now)
            self._end_fold(fit.task, "FINISHED", now)

    def finished(self, board: Leaderboard, folder: RunFolder, bundle: Path, sizes: Mapping[str, int]) -> None:
        """The scores and files of a finished job, and its model; `sizes` are the bytes of each member's files."""
        sums = dict.fromkeys(COSTS, 0.0)
        for row in board.members:
            if _member_uid(row.name) not in self._begun:
                continue  # time left it without a run
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
            note = f"The member `{row.name}` of the ensemble of {self._run}. Recipe: {recipe}.\n{_METRICS}"
            self._journal.tags(_member_uid(row.name), {"quorate.status": row.status, MLFLOW_NOTE: note})
            if row.weight:
                sums = {key: round(sums[key] + known[key], 4) for key in sums if key in known}
        self._ensemble(board, sums)
        metrics = _figures(board.ensemble) | sums
        self._journal.metrics(JOB, 0, metrics)
        note = as_markdown(board)
        self._journal.tags(JOB, {MLFLOW_NOTE: note})
        for name in ("leaderboard.json", "leaderboard.txt", "job.json"):
            self._journal.artifact(JOB, folder.path / name)
        name = self._spec.tracking.register_as or self._spec.name
        plots = [path for stem in _SHOWN if (path := folder.path / "plots" / f"{stem}.png").is_file()]
        self._journal.model(JOB, bundle=bundle, name=name, run=self._run, note=note, metrics=metrics, pictures=plots)
        self._journal.ranking(JOB, run=self._run)

    def worth(self, changes: Mapping[str, EnsembleChange], board: Leaderboard) -> None:
        """How much higher the ensemble's log-loss is without each member; 0 without one that has no weight."""
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
        """Plots of the job, and `curves-NAME` of the member NAME and of its copies."""
        copies: dict[str, dict[str, None]] = {}
        for task in self._plan.tasks:
            if not task.view and _member_uid(task.label) in self._begun:
                copies.setdefault(task.member, {})[_member_uid(task.label)] = None
        for path in paths:
            member = path.stem.removeprefix("curves-")
            for uid in (JOB,) if member == path.stem else copies.get(member, {}):
                self._journal.artifact(uid, path, "plots")

    def report(self, path: Path) -> None:
        """The report of the job."""
        self._journal.artifact(JOB, path)

    def close(self, status: Status) -> None:
        """End every run that is open, the job last, and the journal."""
        for label, ended in self._ended.items():
            if _member_uid(label) in self._open:  # time left out some of its folds, or the job was stopped
                self._end(_member_uid(label), self._status_of(label, status), ended)
        for uid in reversed(list(self._open)):
            self._end(uid, "KILLED" if uid.count("/") > 1 and status == "FAILED" else status, _now())
        self._journal.close()

    def _ensemble(self, board: Leaderboard, sums: Mapping[str, float]) -> None:
        """The ensemble as a run among its members, from the job's start to now."""
        found, best = board.ensemble, board.ensemble.best_single
        assert best is not None and best.name is not None, "make_board sets it"
        tags = {"quorate.level": "ensemble", MEMBERS_OF: self._run, "quorate.combiner": found.combiner}
        self._start(ENSEMBLE, "ensemble", JOB, tags, {"kind": "ensemble"}, self._begun[JOB])
        self._data(ENSEMBLE, "training")
        self._data(ENSEMBLE, "testing")
        figures = _figures(found) | dict(sums) | {"weight": 1.0}
        if found.temperature is not None:
            figures["temperature"] = round(found.temperature, 4)
        if best.gain is not None:
            figures["gain_over_best_member_nll"] = best.gain
        self._journal.metrics(ENSEMBLE, 0, figures)
        note = f"The ensemble of {self._run}, the weighted members together.\n{_METRICS}"
        if best.gain is not None:
            note += f"- `gain_over_best_member_nll`: how much lower its log-loss is than that of {best.name} alone.\n"
        self._journal.tags(ENSEMBLE, {"quorate.best_member": best.name, MLFLOW_NOTE: note})
        self._end(ENSEMBLE, "FINISHED", _now())

    def _member(self, task: FitTask, begun: int) -> None:
        """Begin the run of the task's member, unless it has begun."""
        uid = _member_uid(task.label)
        if uid in self._begun:
            return
        tags = {"quorate.level": "member", "quorate.kind": task.kind, "quorate.recipe": task.member}
        tags[MEMBERS_OF] = self._run
        params = {key: value for key, value in self._recipes[task.label].items() if key in self._compared}
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
            level = "fold" if task.fold != ALL_ROWS else "all rows"  # which has no rows to be validated on
            own = {"quorate.level": level, "quorate.key": task.key, **(tags or {})}
            self._start(uid, f"{task.label} {task.part}", _member_uid(task.label), own, params, begun)
        return uid

    def _end_fold(self, task: FitTask, status: Status, ended: int) -> None:
        """End a fit task's run, and its member's with the last one; a refit prolongs the member."""
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
        """The rows of a run as a data set of MLflow's, where there are such rows."""
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
    """Scores of a member or of the ensemble as metrics, such as `oof_nll`."""
    known = {split: found for split in SPLITS if (found := scores_on(row, split)) is not None}
    return {f"{split}_{key}": value for split, found in known.items() for key, value in found.model_dump().items()}


def _source(spec: JobSpec, context: str) -> str:
    """Where the rows come from: a path where the job file names one, else what it calls the data."""
    named = spec.data.model_dump(mode="json")
    path = named.get("test") if context == "testing" and isinstance(named.get("test"), str) else named.get("train")
    return str(path) if isinstance(path, str) else str(spec.data.kind)


def _profile(signature: Signature) -> dict[str, int]:
    """How large one row is."""
    if isinstance(signature, ImageSignature):
        return dict(zip(("height", "width", "channels"), signature.shape, strict=True))
    return {"num_columns": signature.size}


def _now() -> int:
    return int(time.time() * 1000)
