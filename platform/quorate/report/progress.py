"""Live progress of a job: a line for each running task in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from quorate.execution.base import Event, Failed, Fitted, Predicted, Reported, Started, Stopped
from quorate.plan import FitTask, Task


class Watch:
    """Shows events as they come."""

    def __init__(self, console: Console, *, total: int, reused: int) -> None:
        self._console = console
        self._live = console.is_terminal
        self._done, self._total = reused, total
        self._since = time.monotonic()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._whole = self._bars.add_task("fit tasks", total=total, completed=reused)
        self._rows: dict[str, TaskID] = {}

    @contextmanager
    def shown(self) -> Iterator[Watch]:
        """While this lasts, the running tasks are on the screen."""
        if not self._live:
            yield self
            return
        with Live(self._bars, console=self._console, refresh_per_second=4, transient=True):
            yield self

    def on(self, event: Event) -> None:
        task = event.task
        if isinstance(event, Started):
            self._begin(task, event)
        elif isinstance(event, Reported) and task.key in self._rows:
            loss = event.metrics.get("valid_loss", float("nan"))
            line = f"  {self._label(task)}  epoch {event.epoch}  validation loss {loss:.4f}"
            self._bars.update(self._rows[task.key], description=line, completed=event.epoch)
        elif isinstance(event, Fitted):
            self._finish(task)
            last = event.history[-1] if event.history else {}
            self._say(
                f"{self._label(task)} fitted in {event.seconds:.1f} s, "
                f"validation loss {last.get('valid_loss', 0):.4f}, accuracy {last.get('valid_accuracy', 0):.4f}"
            )
        elif isinstance(event, Predicted | Stopped):
            self._finish(task, count=isinstance(event, Predicted))
        elif isinstance(event, Failed):
            self._failed(event)

    def _begin(self, task: Task, event: Started) -> None:
        epochs = getattr(task.params, "epochs", None) if isinstance(task, FitTask) else None
        again = ", from its checkpoint" if event.restored else ""
        line = f"  {self._label(task)}  on {event.worker}{again}"
        self._rows[task.key] = self._bars.add_task(line, total=epochs)
        if again:
            self._console.print(f"{self._label(task)} goes on{again}")

    def _failed(self, event: Failed) -> None:
        self._finish(event.task, count=event.final)
        what = "failed" if event.final else "is tried again"
        line = f"{event.task}, attempt {event.attempt}: {what}: {event.message}"
        self._console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
        if event.final and event.status != "diverged":
            if event.log:
                self._console.print(f"  log: {event.log}", markup=False, highlight=False)
            for line in event.tail.strip().splitlines()[-8:]:
                self._console.print(f"  | {line}", markup=False, highlight=False, soft_wrap=True)

    def _finish(self, task: Task, *, count: bool = True) -> None:
        row = self._rows.pop(task.key, None)
        if row is not None:
            self._bars.remove_task(row)
        if count and isinstance(task, FitTask):
            self._done += 1
            self._bars.update(self._whole, completed=self._done)

    def _say(self, line: str) -> None:
        if not self._live:
            elapsed = time.monotonic() - self._since
            self._console.print(
                f"[{self._done}/{self._total}] {elapsed:5.1f} s  {line}", markup=False, highlight=False, soft_wrap=True
            )

    @staticmethod
    def _label(task: Task) -> str:
        fit = task if isinstance(task, FitTask) else task.fit
        return f"{fit.label} fold {fit.fold + 1}"
