"""A job that runs, from the records of its journal: its hosts, its running tasks, its rates and the time left."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from quorate.quantities import format_seconds
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
    loss: float | None = None


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
    _total: int = 0
    _ends: Counter[Status] = field(default_factory=Counter)
    _reused: int = 0
    _retries: int = 0
    _seconds: list[float] = field(default_factory=list)
    _running: dict[str, RunningTask] = field(default_factory=dict)
    _reused_uids: set[str] = field(default_factory=set)
    _epochs: deque[int] = field(default_factory=deque)
    """The times in milliseconds of the epochs of the last minute."""
    _hosts: dict[str, HostCounts] = field(default_factory=dict)

    def on(self, record: Record) -> None:
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
                task.epoch = record.step
                task.loss = record.values.get("valid_loss", record.values.get("pretrain_loss", task.loss))
                self._epochs.append(record.timestamp_ms)
            case AttemptRecord():
                self._attempted(record)
            case EndRecord(uid="job"):
                self.status = record.status
            case EndRecord(uid=uid) if uid in self._reused_uids:
                self._reused_uids.discard(uid)
                self._reused += 1
            case EndRecord(uid=uid) if uid in self._running:
                del self._running[uid]
                self._ends[record.status] += 1

    def figures(self, now_ms: int) -> JobFigures:
        """The figures at a time in milliseconds since 1970."""
        while self._epochs and self._epochs[0] < now_ms - 1000 * WINDOW_SECONDS:
            self._epochs.popleft()
        done = self._reused + self._ends["FINISHED"] + self._ends["FAILED"]
        waiting = max(self._total - done - len(self._running), 0)
        running = sorted(self._running.values(), key=lambda task: task.since_ms)
        hosts = {name: HostCounts(0, one.ended, one.problems, one.seconds) for name, one in self._hosts.items()}
        for task in running:
            hosts.setdefault(task.host or "?", HostCounts()).running += 1
        return JobFigures(
            self.status,
            self._total,
            done,
            self._reused,
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
        self._total = int(record.params.get("members", 0)) * int(record.params.get("folds", 0))
        self.status = None
        self._running.clear()
        self._ends.clear()
        self._reused = 0

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


def picture(name: str, figures: JobFigures, now_ms: int, *, height: int = 40) -> RenderableType:
    """The screen of `quorate top`."""
    return Group(Text(_summary(name, figures), style="bold"), "", _hosts(figures), "", _tasks(figures, now_ms, height))


def _summary(name: str, figures: JobFigures) -> str:
    state = {None: "running", "FINISHED": "finished", "FAILED": "failed", "KILLED": "stopped"}[figures.status]
    parts = [f"{name}: {state}", f"{figures.done} of {figures.total} fit tasks done"]
    parts[-1] += f" ({figures.reused} reused)" if figures.reused else ""
    parts += [f"{figures.failed} failed"] if figures.failed else []
    if figures.status is None:
        parts += [f"{len(figures.running)} running, {figures.waiting} waiting"]
        parts += [f"{figures.epochs_per_second:.2g} epochs/s"] if figures.epochs_per_second else []
        parts += [f"about {format_seconds(figures.seconds_left)} left"] if figures.seconds_left is not None else []
    parts += [f"{figures.retries} retried"] if figures.retries else []
    return "; ".join(parts)


def _hosts(figures: JobFigures) -> Table:
    table = Table("host", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("running", "ended", "failed or lost", "task time"):
        table.add_column(name, justify="right")
    for name, host in sorted(figures.hosts.items()):
        cells = (host.running, host.ended, host.problems, format_seconds(host.seconds))
        table.add_row(name, *map(str, cells), style="yellow" if host.problems else "")
    return table


def _tasks(figures: JobFigures, now_ms: int, height: int) -> Table:
    table = Table("task", "host", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("epoch", "loss", "time"):
        table.add_column(name, justify="right")
    room = max(height - len(figures.hosts) - 6, 3)
    for task in figures.running[:room]:
        epoch = f"{task.epoch}/{task.epochs}" if task.epochs else str(task.epoch or "")
        again = f", attempt {task.attempt}" if task.attempt > 1 else ""
        loss = "" if task.loss is None else f"{task.loss:.4f}"
        table.add_row(task.name + again, task.host, epoch, loss, format_seconds((now_ms - task.since_ms) / 1e3))
    if len(figures.running) > room:
        table.add_row(f"and {len(figures.running) - room} more", style="dim")
    return table
