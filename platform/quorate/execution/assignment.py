"""The input of a worker: a task with everything that it needs, and signals while the task runs."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Literal

from quorate.execution.base import Policy
from quorate.plan.tasks import FitTask, PredictTask, Task


@dataclass(frozen=True)
class Assignment:
    """One task with all that a worker needs in addition to the data of the job."""

    task: Task
    attempt: int
    checkpoint_seconds: float
    number: int = 0
    """Differs between the assignments of a session; signals for one task name it."""
    together: bool = False
    """Whether the task is trained in one model with others, or was before its worker died."""
    restored: bytes | None = None
    files: dict[str, bytes] | None = None
    log: str = ""
    seconds_left: float | None = None
    """Seconds until the result is due; not a time of day, because clocks differ between machines."""
    for_tests: float = 1.0
    """Largest part of the remaining time for test predictions, if there is a deadline and the fit ended before it."""


def assign(
    task: Task,
    number: int,
    *,
    attempt: int,
    policy: Policy,
    together: bool,
    seconds_left: float | None,
    for_tests: float,
) -> Assignment:
    """Make the assignment of a task: adds the newest checkpoint of a fit, or the files of the fit to predict with."""
    plain = Assignment(task, attempt, policy.checkpoint_seconds, number, together)
    if isinstance(task, FitTask):
        restored = policy.sources.checkpoint(task)
        return replace(plain, restored=restored, seconds_left=seconds_left, for_tests=for_tests)
    return replace(plain, files=policy.sources.files(task.fit)) if isinstance(task, PredictTask) else plain


def this_process() -> str:
    """The machine and the number of this process, as `HOST:PROCESS`."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass
class Control:
    """The control channel: set from outside, read by the task at its next report."""

    worker: str = field(default_factory=this_process)
    """The name of the worker in events."""
    stop: threading.Event = field(default_factory=threading.Event)
    checkpoints: int = 0
    """Number of requests for a checkpoint of the running tasks."""
    due: float | None = None
    """When the result is due, as `time.monotonic` of this process; None without a deadline."""
    asked: dict[int, Literal["finish", "cancel"]] = field(default_factory=dict)
    """Requests to single tasks, `finish` or `cancel`, by the number of their assignment."""

    def end_in(self, seconds: float | None) -> None:
        self.due = None if seconds is None else time.monotonic() + seconds
