"""Write the log files of a run: one for each fit task, and one for each kind of features."""

from __future__ import annotations

import time
from pathlib import Path

from quorate.errors import naming
from quorate.execution.events import Event, Failed, Featured, Fitted, OutOfTime, Reported, Started
from quorate.plan.tasks import FeatureTask, PredictTask


class RunLogs:
    """The log files in the folder `logs` of a run.

    A file is open only while a line is written: thousands of tasks can run at the same time.
    """

    def __init__(self, run: Path) -> None:
        self._folder = run / "logs"

    def write(self, event: Event) -> None:
        """Write an event to the log of its task."""
        path = self._path(event)
        with naming(path), path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {_line(event)}\n")

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
