"""Progress of a job that another process runs, from its journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quorate.tracking.records import EndRecord, MetricsRecord, Record, RunRecord, Status, TagsRecord

_JOB = "job"
"""The `uid` of the job in its journal."""

_ENDS: Mapping[Status, str] = {"FINISHED": "fitted", "FAILED": "failed", "KILLED": "stopped"}

_SHOWN_AT_ONCE = 3


@dataclass
class _Fit:
    name: str
    reused: bool
    epoch: int = 0
    figures: Mapping[str, float] | None = None

    def __str__(self) -> str:
        """The task with its newest epoch and figures."""
        loss = (self.figures or {}).get("valid_loss")
        accuracy = (self.figures or {}).get("valid_accuracy")
        epoch = f"epoch {self.epoch}" if self.figures else ""
        parts = (f"validation loss {loss:.4f}" if loss is not None else "", _accuracy(accuracy))
        return ", ".join(part for part in (epoch, *parts) if part)


class JournalProgress:
    """Counts the fit tasks of a journal, and describes those that run and those that end."""

    def __init__(self) -> None:
        self.status: Status | None = None
        """How the job ended; None until then."""
        self.exit_code: int | None = None
        """The exit code of an interrupted job."""
        self._total = self._done = self._reused = 0
        self._running: dict[str, _Fit] = {}

    def on(self, record: Record) -> str | None:
        """Take a record; returns a line if a fit task has ended."""
        match record:
            case RunRecord(level="job"):
                self._total = int(record.params.get("members", 0)) * int(record.params.get("folds", 0))
            case RunRecord(level="fold"):
                self._running[record.uid] = _Fit(record.name, record.tags.get("quorate.reused") == "true")
            case MetricsRecord() if record.uid in self._running:
                fit = self._running[record.uid]
                fit.epoch, fit.figures = record.step, record.values
            case TagsRecord(uid=uid) if uid == _JOB and "quorate.exit_code" in record.tags:
                self.exit_code = int(record.tags["quorate.exit_code"])
            case EndRecord(uid=uid) if uid == _JOB:
                self.status = record.status
            case EndRecord() if record.uid in self._running:
                return self._end(self._running.pop(record.uid), record.status)
        return None

    def __str__(self) -> str:
        """The counts, and some of the running tasks."""
        running = list(self._running.values())
        shown = [f"{fit.name} {fit}".strip() for fit in running[:_SHOWN_AT_ONCE]]
        more = [f"and {len(running) - _SHOWN_AT_ONCE} more"] if len(running) > _SHOWN_AT_ONCE else []
        reused = f" ({self._reused} reused)" if self._reused else ""
        return "; ".join([f"{self._done} of {self._total} fit tasks done{reused}", *shown, *more])

    def _end(self, fit: _Fit, status: Status) -> str | None:
        self._done += status != "KILLED"
        if fit.reused:
            self._reused += 1
            return None
        figures = f", {fit}" if str(fit) else ""
        return f"[{self._done}/{self._total}] {fit.name} {_ENDS[status]}{figures}"


def _accuracy(accuracy: float | None) -> str:
    return f"accuracy {accuracy:.4f}" if accuracy is not None else ""
