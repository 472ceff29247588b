"""Write the log files of a run: one for each fit task, and one for each kind of features."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from quorate.errors import naming
from quorate.execution.events import ENDS, Event, Failed, Featured, Fitted, OutOfTime, Reported, Started
from quorate.plan.tasks import FeatureTask, PredictTask


class RunLogs:
    """The log files in the folder `logs` of a run.

    The file of a task is open while the task runs, and each line is written at once. A context manager.
    """

    def __init__(self, run: Path) -> None:
        self._folder = run / "logs"
        self._open: dict[Path, TextIO] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as files:
            for file in self._open.values():
                files.enter_context(file)
        self._open.clear()

    def write(self, event: Event) -> None:
        """Write an event to the log of its task."""
        path = self._path(event)
        with naming(path):
            if path not in self._open:
                self._open[path] = path.open("a", encoding="utf-8", buffering=1)
            self._open[path].write(f"{time.strftime('%H:%M:%S')} {_line(event)}\n")
            if isinstance(event, ENDS):
                self._open.pop(path).close()

    def _path(self, event: Event) -> Path:
        if isinstance(event.task, FeatureTask):
            return self._folder / f"features.{event.task.label.replace('/', '.')}.log"
        task = event.task.fit if isinstance(event.task, PredictTask) else event.task
        return self._folder / f"{task.label}.{task.part.replace(' ', '')}.log"


def _line(event: Event) -> str:
    if isinstance(event, Started):
        return f"attempt {event.attempt} on {event.worker}" + (", from a checkpoint" if event.restored else "")
    if isinstance(event, Reported):
        return f"epoch {event.epoch}: " + ", ".join(f"{name} {value:.6g}" for name, value in event.metrics.items())
    if isinstance(event, Fitted):
        return f"fitted in {event.seconds:.2f} s" + ("" if event.complete else ", stopped before its last epoch")
    if isinstance(event, Featured):
        return f"{event.task} in {event.seconds:.2f} s"
    if isinstance(event, OutOfTime):
        return f"out of time: {event.message}"
    if isinstance(event, Failed):
        return f"attempt {event.attempt} {event.status}: {event.message}\n{event.tail}\nworker's log: {event.log}"
    return type(event).__name__.lower()
