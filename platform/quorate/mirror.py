"""Mirrors a job into the journal as MLflow's tree of runs: job, members, and each copy's folds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quorate.data.dataset import Dataset
from quorate.data.signature import ImageSignature, Signature
from quorate.execution.events import Event, Failed, Fitted, OutOfTime, Reported, Started, Stopped
from quorate.plan import ALL_ROWS, FitTask, Plan
from quorate.report.leaderboard import as_markdown
from quorate.results import Fit
from quorate.runs import RunFolder
from quorate.spec import JobSpec
from quorate.tracking.journal import Journal

JOB = "job"
SPLITS = ("oof", "train_dev", "test")
"""Rows that a leaderboard may have figures of."""
MLFLOW_NOTE = "mlflow.note.content"
"""The tag that MLflow's page of a run shows as its description, in Markdown."""


class Mirror:
    """Writes what happens into a journal; it never waits and never fails a member."""

    def __init__(self, journal: Journal, spec: JobSpec, plan: Plan) -> None:
        self._journal = journal
        self._open: dict[str, None] = {}
        self._members: set[str] = set()
        self._sent: dict[str, set[int]] = {}
        self._spec = spec
        params = {"seed": spec.seed, "combiner": spec.combiner.kind, "members": len(plan.labels)}
        params |= {"folds": len(plan.context.folds), "validation": plan.context.folds.reason, "data": spec.data.kind}
        self._start(JOB, spec.name, None, {"quorate.level": "job"}, params)
        self._data(plan.context.train, "training")
        if plan.context.test is not None:
            self._data(plan.context.test, "testing")

    def on(self, event: Event) -> None:
        """One event of the executor."""
        if not isinstance(event.task, FitTask):
            return
        uid = self._fold(event.task)
        if isinstance(event, Started):
            self._journal.tags(uid, {"quorate.worker": event.worker, "quorate.attempt": str(event.attempt)})
        elif isinstance(event, Reported):
            self._sent.setdefault(uid, set()).add(event.epoch)
            self._journal.metrics(uid, event.epoch, event.metrics)
        elif isinstance(event, Fitted):
            for epoch, figures in enumerate(event.history, start=1):
                if epoch not in self._sent.get(uid, ()):  # from before its checkpoint, in another run
                    self._journal.metrics(uid, epoch, figures)
            if not event.complete:
                self._journal.tags(uid, {"quorate.status": "stopped early"})
            self._end(uid, "FINISHED")
            for other in event.others:
                self.on(other)
        elif isinstance(event, Failed) and event.final:
            self._journal.tags(uid, {"quorate.status": event.status, "quorate.error": event.message})
            self._end(uid, "FAILED")
        elif isinstance(event, OutOfTime):
            self._journal.tags(uid, {"quorate.status": "out of time"})
            self._end(uid, "KILLED")
        elif isinstance(event, Stopped):
            self._end(uid, "KILLED")

    def reused(self, fit: Fit) -> None:
        """A fit task of earlier work, with its curves."""
        uid = self._fold(fit.task, {"quorate.reused": "true"})
        now = _now()
        for epoch, figures in enumerate(fit.history, start=1):
            self._journal.metrics(uid, epoch, figures, now)
        self._end(uid, "FINISHED")

    def finished(self, board: dict[str, Any], folder: RunFolder, bundle: Path) -> None:
        """The scores and files of a finished job, and its model."""
        for row in board["members"]:
            if row["name"].partition(".")[0] not in self._members:
                continue  # time left it without a run
            member = f"{JOB}/{row['name'].partition('.')[0]}"
            copy = row["name"].partition(".")[2]
            prefix = f"copy_{copy.replace('.', '_')}_" if copy[:1].isdigit() else f"{copy}_" if copy else ""
            for split in SPLITS:
                if row.get(split):
                    self._journal.metrics(member, 0, {f"{prefix}{split}_{k}": v for k, v in row[split].items()})
            known = {f"{prefix}{key}": row[key] for key in ("weight", "temperature") if row[key] is not None}
            self._journal.metrics(member, 0, known)
        for split in SPLITS:
            if board["ensemble"].get(split):
                self._journal.metrics(JOB, 0, {f"{split}_{k}": v for k, v in board["ensemble"][split].items()})
        self._journal.tags(JOB, {MLFLOW_NOTE: as_markdown(board)})
        for name in ("leaderboard.json", "leaderboard.txt", "job.json"):
            self._journal.artifact(JOB, folder.path / name)
        self._journal.model(JOB, bundle=bundle, name=self._spec.tracking.register_as or self._spec.name)

    def pictures(self, paths: Iterable[Path]) -> None:
        """Plots of the job, and `curves-NAME` of its member NAME."""
        for path in paths:
            member = path.stem.removeprefix("curves-")
            self._journal.artifact(JOB if member == path.stem else f"{JOB}/{member}", path, "plots")

    def report(self, path: Path) -> None:
        """The report of the job."""
        self._journal.artifact(JOB, path)

    def close(self, status: str) -> None:
        """End every run that is open, the job last, and the journal."""
        for uid in reversed(list(self._open)):
            self._end(uid, "KILLED" if uid.count("/") > 1 and status == "FAILED" else status)
        self._journal.close()

    def _fold(self, task: FitTask, tags: Mapping[str, str] | None = None) -> str:
        member = f"{JOB}/{task.member}"
        if task.member not in self._members:
            self._members.add(task.member)
            params = _flat(task.params.model_dump(mode="json"))
            self._start(member, task.member, JOB, {"quorate.level": "member", "quorate.kind": task.kind}, params)
        uid = f"{member}/{'.'.join(filter(None, (str(task.copy), task.view)))}/{task.fold}"
        if uid not in self._open:
            name = f"{task.label} {task.part}"
            params = {"member": task.member, "kind": task.kind, "copy": task.copy, "fold": task.fold, "seed": task.seed}
            params |= task.numerics.to_json() | ({"view": task.view} if task.view else {})
            level = "fold" if task.fold != ALL_ROWS else "all rows"  # which has no rows to be validated on
            own = {"quorate.level": level, "quorate.key": task.key, **(tags or {})}
            self._start(uid, name, member, own, params)
        return uid

    def _start(
        self, uid: str, name: str, parent: str | None, tags: Mapping[str, str], params: Mapping[str, Any]
    ) -> None:
        self._open[uid] = None
        self._journal.run(uid, name=name, parent=parent, tags=tags, params=params, start_ms=_now())

    def _end(self, uid: str, status: str) -> None:
        self._open.pop(uid, None)
        self._journal.end(uid, status, _now())  # type: ignore[arg-type]

    def _data(self, data: Dataset, context: str) -> None:
        self._journal.dataset(
            JOB,
            name=f"{self._spec.name} {context}",
            source=self._spec.data.kind,
            digest=data.fingerprint,
            profile={"rows": len(data), **_profile(data.signature), "classes": data.n_classes},
            context=context,  # type: ignore[arg-type]
        )


def _profile(signature: Signature) -> dict[str, int]:
    """How large one row is."""
    if isinstance(signature, ImageSignature):
        return dict(zip(("height", "width", "channels"), signature.shape, strict=True))
    return {"columns": signature.size}


def _flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _now() -> int:
    return int(time.time() * 1000)
