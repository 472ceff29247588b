"""Progress of a job that another process runs, in lines for a log and a line for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from quorate.report.job_state import JobState, RunningTask
from quorate.tracking.records import EndRecord, Record, Status, TagsRecord

_JOB = "job"
"""The `uid` of the job in its journal."""

_ENDS: Mapping[Status, str] = {"FINISHED": "fitted", "FAILED": "failed", "KILLED": "stopped"}

_SHOWN_AT_ONCE = 3


class JournalProgress:
    """Describes the fit tasks of a journal: those that run, and each one that ends."""

    def __init__(self) -> None:
        self._job = JobState()
        self.exit_code: int | None = None
        """The exit code of an interrupted job."""

    @property
    def status(self) -> Status | None:
        """How the job ended; None until then."""
        return self._job.status

    def on(self, record: Record) -> str | None:
        """Take a record; returns a line if a fit task has ended."""
        if isinstance(record, TagsRecord) and record.uid == _JOB and "quorate.exit_code" in record.tags:
            self.exit_code = int(record.tags["quorate.exit_code"])
        ended = self._job.on(record)
        if ended is None or not isinstance(record, EndRecord):
            return None
        figures = f", {said}" if (said := _in_words(ended)) else ""
        return f"[{self._job.done}/{self._job.total}] {ended.name} {_ENDS[record.status]}{figures}"

    def __str__(self) -> str:
        """The counts, and some of the running tasks."""
        job, running = self._job, self._job.running
        shown = [f"{task.name} {_in_words(task)}".strip() for task in running[:_SHOWN_AT_ONCE]]
        more = [f"and {len(running) - _SHOWN_AT_ONCE} more"] if len(running) > _SHOWN_AT_ONCE else []
        reused = f" ({job.reused} reused)" if job.reused else ""
        return "; ".join([f"{job.done} of {job.total} fit tasks done{reused}", *shown, *more])


def _in_words(task: RunningTask) -> str:
    """The newest epoch and figures of a task."""
    if not task.figures:
        return ""
    loss, accuracy = task.figures.get("valid_loss"), task.figures.get("valid_accuracy")
    parts = [f"epoch {task.epoch}"] if task.epoch else []
    parts += [f"validation loss {loss:.4f}"] if loss is not None else []
    parts += [f"accuracy {accuracy:.4f}"] if accuracy is not None else []
    return ", ".join(parts)
