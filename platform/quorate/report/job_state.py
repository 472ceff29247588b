"""The state of a job that another process runs, from the records of its journal."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from quorate.tracking.records import (
    AttemptRecord,
    EndRecord,
    MetricsRecord,
    Record,
    RunRecord,
    Status,
    TagsRecord,
)

WINDOW_SECONDS = 60
"""The rates are those of the last minute."""


@dataclass
class RunningTask:
    """A fit task that runs."""

    name: str
    since_ms: int
    epochs: int | None
    host: str = ""
    attempt: int = 1
    epoch: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    """The metrics of its newest epoch."""

    @property
    def loss(self) -> float | None:
        return self.figures.get("valid_loss", self.figures.get("pretrain_loss"))


@dataclass
class HostCounts:
    """What a host has done since the start of the job."""

    running: int = 0
    ended: int = 0
    problems: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class JobFigures:
    """The figures of a job at one time."""

    status: Status | None
    total: int
    done: int
    reused: int
    failed: int
    waiting: int
    retries: int
    epochs_per_second: float
    seconds_left: float | None
    """Estimated from the mean duration of the tasks that have ended; None before the first one."""
    running: list[RunningTask]
    hosts: Mapping[str, HostCounts]


@dataclass
class JobState:
    """The state of a job, from the records of its journal in their order."""

    status: Status | None = None
    total: int = 0
    reused: int = 0
    _ends: Counter[Status] = field(default_factory=Counter)
    _retries: int = 0
    _seconds: list[float] = field(default_factory=list)
    _running: dict[str, RunningTask] = field(default_factory=dict)
    _reused_uids: set[str] = field(default_factory=set)
    _epochs: deque[int] = field(default_factory=deque)
    """The times in milliseconds of the epochs of the last minute."""
    _hosts: dict[str, HostCounts] = field(default_factory=dict)

    def on(self, record: Record) -> RunningTask | None:
        """Take a record; returns the fit task that it ends, unless the task was reused."""
        match record:
            case RunRecord(level="job"):
                self._start_job(record)
            case RunRecord(level="fold") if record.tags.get("quorate.reused") == "true":
                self._reused_uids.add(record.uid)
            case RunRecord(level="fold"):
                epochs = record.params.get("epochs", "")
                most = int(epochs) if epochs.isdigit() else None
                self._running[record.uid] = RunningTask(record.name, record.start_ms, most)
            case TagsRecord(uid=uid) if uid in self._running and record.host:
                task = self._running[uid]
                task.host, task.attempt = record.host, int(record.tags.get("quorate.attempt", 1))
            case MetricsRecord(uid=uid) if uid in self._running:
                task = self._running[uid]
                task.epoch, task.figures = record.step, record.values
                self._epochs.append(record.timestamp_ms)
            case AttemptRecord():
                self._attempted(record)
            case EndRecord(uid="job"):
                self.status = record.status
            case EndRecord(uid=uid) if uid in self._reused_uids:
                self._reused_uids.discard(uid)
                self.reused += 1
            case EndRecord(uid=uid) if uid in self._running:
                self._ends[record.status] += 1
                return self._running.pop(uid)
        return None

    @property
    def done(self) -> int:
        """The number of fit tasks that were fitted, failed for good, or were reused."""
        return self.reused + self._ends["FINISHED"] + self._ends["FAILED"]

    @property
    def running(self) -> list[RunningTask]:
        """The fit tasks that run, the one that has run the longest first."""
        return sorted(self._running.values(), key=lambda task: task.since_ms)

    def figures(self, now_ms: int) -> JobFigures:
        """The figures at a time in milliseconds since 1970."""
        while self._epochs and self._epochs[0] < now_ms - 1000 * WINDOW_SECONDS:
            self._epochs.popleft()
        self.total = max(self.total, self.done)  # a job that grows trains more than it has begun with
        running, waiting = self.running, max(self.total - self.done - len(self._running), 0)
        hosts = {name: HostCounts(0, one.ended, one.problems, one.seconds) for name, one in self._hosts.items()}
        for task in running:
            hosts.setdefault(task.host or "?", HostCounts()).running += 1
        return JobFigures(
            self.status,
            self.total,
            self.done,
            self.reused,
            self._ends["FAILED"],
            waiting,
            self._retries,
            len(self._epochs) / WINDOW_SECONDS,
            self._left(running, waiting, now_ms),
            running,
            hosts,
        )

    def _start_job(self, record: RunRecord) -> None:
        """The job starts, perhaps again: then nothing of its earlier process runs any more."""
        self.total = int(record.params.get("members", 0)) * int(record.params.get("folds", 0))
        self.status = None
        self._running.clear()
        self._ends.clear()
        self.reused = 0

    def _attempted(self, record: AttemptRecord) -> None:
        host, seconds = self._hosts.setdefault(record.host, HostCounts()), (record.end_ms - record.start_ms) / 1e3
        host.seconds += seconds
        if record.outcome in ("fitted", "predicted", "extracted"):
            host.ended += 1
        if record.outcome == "fitted":
            self._seconds.append(seconds)
        if record.outcome in ("failed", "lost", "memory", "diverged"):
            host.problems += 1
        self._retries += record.attempt > 1

    def _left(self, running: list[RunningTask], waiting: int, now_ms: int) -> float | None:
        """The work that is left, divided by the number of tasks that run at the same time."""
        if not self._seconds or not running:
            return None
        mean = sum(self._seconds) / len(self._seconds)
        begun = sum(max(mean - (now_ms - task.since_ms) / 1e3, 0.0) for task in running)
        return (begun + waiting * mean) / len(running)
