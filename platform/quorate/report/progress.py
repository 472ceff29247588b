"""Progress of a job: a live line per running task in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from quorate.execution.budget import Budget
from quorate.execution.estimates import Estimates, epochs_of
from quorate.execution.events import (
    Cancelled,
    Event,
    Failed,
    Featured,
    Fitted,
    HostSilent,
    NodeAwaited,
    OutOfTime,
    Predicted,
    Reported,
    Silent,
    Started,
    Stopped,
)
from quorate.execution.node_waits import NodeWait
from quorate.plan.tasks import ALL_ROWS, FitTask, Resources, Task, Unit
from quorate.quantities import format_seconds
from quorate.report.host_losses import HostLosses
from quorate.report.waiting_tasks import WaitingTasks

_WIDE = 100
"""Minimum terminal width in characters at which the line of a task has a progress bar."""
_NARROW = 72
"""Minimum terminal width in characters at which the columns of the lines have a minimum width."""
_FRESH_SECONDS = 5.0
"""Seconds for which the terminal shows a wait for a node; the session reports it every second."""


@dataclass(frozen=True)
class Screen:
    """The consoles for progress and for failures."""

    out: Console
    errors: Console


@dataclass
class _Row:
    """The state of a running task for its line."""

    task: Task
    worker: str
    since: float
    epoch: int = 0
    loss: float | None = None
    of: str = "validation "


class Watch:
    """Show events as they arrive; `share` returns the share of all workers that a task occupies, and `status` the state
    of what adds tasks.

    A thread of rich draws the terminal, from copies of the state that events change.
    """

    def __init__(
        self,
        screen: Screen,
        units: Sequence[Unit],
        estimates: Estimates,
        share: Callable[[Task], float],
        *,
        reused: int,
        budget: Budget | None = None,
        status: Callable[[], str] = lambda: "",
    ) -> None:
        self._out, self._errors = screen.out, screen.errors
        self._live = screen.out.is_terminal and not screen.out.quiet
        self._estimates, self._share, self._budget, self._status = estimates, share, budget, status
        tasks = {task.key: task for unit in units for task in unit.tasks}
        self._waiting = WaitingTasks(tasks.values(), estimates, share)
        self._rows: dict[str, _Row] = {}
        self._reused, self._done, self._failed = reused, reused, 0
        self._total = reused + sum(isinstance(task, FitTask) for task in tasks.values())
        self._awaited: dict[Resources, tuple[float, NodeWait]] = {}
        """The newest of the waits for nodes that were reported, with the times at which they were."""
        self._losses = HostLosses()
        self._longest = min(max((len(task.title) for task in tasks.values()), default=0), 24)
        self._since = time.monotonic()

    def add(self, units: Sequence[Unit]) -> None:
        """Note that these units are trained too."""
        for task in (task for unit in units for task in unit.tasks):
            self._waiting.add(task)
            self._total += isinstance(task, FitTask)

    @contextmanager
    def shown(self) -> Iterator[Watch]:
        """A context in which the terminal shows the running tasks."""
        if not self._live:
            yield self
            return
        with Live(get_renderable=self.picture, console=self._out, refresh_per_second=4, transient=True):
            yield self

    def on(self, event: Event) -> None:
        """Handle one event; update the estimates before the call."""
        task = event.task
        for line in self._losses.waiting():
            self._say_loss(line)
        if isinstance(event, NodeAwaited):
            self._await(event.wait)
        elif isinstance(event, Silent):
            line = f"{task.title}: {event}; it is not ended, because {event.spared}"
            self._out.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
        elif isinstance(event, HostSilent):
            self._out.print(str(event), style="yellow", markup=False, highlight=False, soft_wrap=True)
        elif isinstance(event, Started):
            self._begin(task, event)
        elif isinstance(event, Reported) and task.key in self._rows:
            row = self._rows[task.key]
            row.epoch, row.loss, row.of = event.epoch, event.metrics.get("valid_loss"), f"{_rows(task)} "
            if row.loss is None:
                row.loss, row.of = event.metrics.get("pretrain_loss"), "pretraining "
        elif isinstance(event, Fitted):
            self._end(task)
            self._say(f"{task.title} {_fitted(event)}")
        elif isinstance(event, Featured):
            self._end(task)
            self._say(f"{task.title} in {event.seconds:.1f} s")
        elif isinstance(event, Predicted | Stopped | Cancelled):
            self._end(task, count=isinstance(event, Predicted))
        elif isinstance(event, Failed):
            self._on_failure(task, event)
        elif isinstance(event, OutOfTime):
            self._end(task, count=False)
            if event.begun:
                self._say(f"{task.title} stopped: {event.message}")

    @property
    def waiting(self) -> int:
        """The number of tasks that wait for a worker, and `running` of those that run."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._rows)

    def seconds_left(self) -> float | None:
        """Estimated seconds until the workers have finished all tasks; None while there is no estimate."""
        if not self._estimates.known:
            return None
        now = time.monotonic()
        running = [(self._estimates.seconds_left(row.task, now), self._share(row.task)) for row in self._running()]
        left = self._waiting.seconds_left(running)
        return left if self._budget is None else min(left, max(self._budget.training_left(), 0.0))

    def picture(self) -> RenderableType:
        """The content of the terminal: one line per running task, the status, and a summary."""
        rows, now, wide = self._running(), time.monotonic(), self._out.width >= _WIDE
        status = [Text(status, no_wrap=True, overflow="ellipsis")] if (status := self._status()) else []
        room = max(self._out.height - 4 - len(status), 1)
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for least in (self._longest, *([16] if wide else []), 11, 22 if wide else 11, 6):
            table.add_column(no_wrap=True, overflow="ellipsis", min_width=least if self._out.width >= _NARROW else None)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for row in rows[:room]:
            epochs = epochs_of(row.task)
            bar = ProgressBar(total=epochs or 1, completed=row.epoch, width=16) if epochs else ""
            loss = "" if row.loss is None else f"{row.of if wide else ''}loss {row.loss:.4f}"
            cells = [Text(row.task.title), *([bar] if wide else []), f"epoch {row.epoch}/{epochs}" if epochs else ""]
            table.add_row(*cells, loss, format_seconds(now - row.since), Text(row.worker, style="dim"))
        more = [Text(f"and {len(rows) - room} more", style="dim")] if len(rows) > room else []
        return Group(table, *more, *status, Text(self._whole(), style="bold", no_wrap=True, overflow="ellipsis"))

    def _running(self) -> list[_Row]:
        return list(self._rows.values())

    def _whole(self) -> str:
        """The summary line below the tasks."""
        reused = f" ({self._reused} reused)" if self._reused else ""
        failed = f", {self._failed} failed" if self._failed else ""
        waits = [str(wait) for since, wait in list(self._awaited.values()) if time.monotonic() - since < _FRESH_SECONDS]
        left = "; ".join([*waits, *self._left()])
        return f"{self._done} of {self._total} fit tasks done{reused}{failed}{'; ' if left else ''}{left}"

    def _left(self) -> Iterator[str]:
        seconds = self.seconds_left()
        if seconds:
            yield f"about {format_seconds(max(5 * round(seconds / 5), 5))} left"
        if self._budget is not None:
            yield f"budget: {format_seconds(max(self._budget.left(), 0))} left"

    def _begin(self, task: Task, event: Started) -> None:
        self._waiting.discard(task)
        self._rows[task.key] = _Row(task, event.worker, time.monotonic())
        start = (f"epoch {event.epochs + 1}" if event.epochs else "its checkpoint") if event.restored else "the start"
        if sentence := self._losses.restarted(event, start):
            self._say_loss(sentence)
        elif event.restored:
            self._out.print(f"{task.title} continues on {event.worker} from {start}", markup=False, highlight=False)

    def _say_loss(self, line: str) -> None:
        self._out.print(line, style="red", markup=False, highlight=False, soft_wrap=True)

    def _await(self, wait: NodeWait) -> None:
        """Print a wait for a node that is new, or has lasted another minute; the terminal shows it all the time."""
        _, before = self._awaited.get(wait.resources, (0.0, None))
        if before is None or wait.seconds < before.seconds or wait.seconds // 60 > before.seconds // 60:
            self._say(str(wait))
        self._awaited[wait.resources] = (time.monotonic(), wait)

    def _end(self, task: Task, *, count: bool = True) -> None:
        self._rows.pop(task.key, None)
        self._waiting.discard(task)
        if count and isinstance(task, FitTask):
            self._done += 1

    def _on_failure(self, task: Task, event: Failed) -> None:
        self._end(task, count=event.final)
        if event.final:
            self._failed += 1
        else:
            self._waiting.add(task)
            if event.host:
                self._losses.add(event)
                return
        where = self._errors if event.final else self._out
        what = "failed" if event.final else "failed, will be retried"
        line = f"{event.task}, attempt {event.attempt}: {what}: {event.message}"
        where.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
        if event.final and event.status != "diverged":
            if event.log:
                where.print(f"  log: {event.log}", markup=False, highlight=False)
            for line in event.tail.strip().splitlines()[-8:]:
                where.print(f"  | {line}", markup=False, highlight=False, soft_wrap=True)

    def _say(self, line: str) -> None:
        if not self._live:
            elapsed, left = time.monotonic() - self._since, "; ".join(("", *self._left()))
            text = f"[{self._done}/{self._total}] {elapsed:5.1f} s  {line}{left if self._waiting else ''}"
            self._out.print(text, markup=False, highlight=False, soft_wrap=True)


def _fitted(event: Fitted) -> str:
    epochs = f" after {len(event.history)} of {epochs_of(event.task)} epochs"
    what = f"fitted in {event.seconds:.1f} s" if event.complete else f"stopped{epochs}, {event.seconds:.1f} s"
    last = event.history[-1] if event.history else {}
    figures = {f"{_rows(event.task)} loss": last.get("valid_loss"), "accuracy": last.get("valid_accuracy")}
    return ", ".join([what, *(f"{name} {value:.4f}" for name, value in figures.items() if value is not None)])


def _rows(task: Task) -> str:
    """Name of the rows on which a task is scored; a task that trains on all rows has no validation rows."""
    return "training" if isinstance(task, FitTask) and task.fold == ALL_ROWS else "validation"
