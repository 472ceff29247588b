"""The contracts of an executor and of its sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from quorate.data.decoding import Decoder
from quorate.execution.budget import Agenda
from quorate.execution.content import Destination
from quorate.execution.events import Event
from quorate.execution.metrics import MetricSink
from quorate.execution.silence import Patience
from quorate.plan.groups import NodeGroup
from quorate.plan.tasks import DataAddition, FitTask, JobData, Resources, Task, Unit


def _no_checkpoint(task: FitTask) -> bytes | None:
    return None


def _no_files(task: FitTask) -> dict[str, bytes]:
    return {}


@dataclass(frozen=True)
class Sources:
    """Functions that read earlier work; a session calls them in the driver. The defaults find no earlier work."""

    checkpoint: Callable[[FitTask], bytes | None] = _no_checkpoint
    """Returns the newest checkpoint of a fit task; None if it has none."""
    files: Callable[[FitTask], dict[str, bytes]] = _no_files
    """Returns the files of a finished fit task."""


@dataclass(frozen=True)
class Policy:
    """How a session treats its tasks."""

    retries: int = 1
    """How often a task is repeated after an exception."""
    lost_workers: int = 5
    """How often a task is repeated after its worker died."""
    checkpoint_seconds: float = 10.0
    """Minimum number of seconds between the checkpoints of a task."""
    workers: int | None = None
    """Largest number of units that run at the same time; None means no limit."""
    sources: Sources = field(default_factory=Sources)
    destination: Destination | None = None
    """Where workers write the files of members and the states; None if events carry the bytes."""
    patience: Patience = field(default_factory=Patience)
    """How long silent tasks and frozen workers are waited for."""
    agenda: Agenda | None = None
    """Under a budget: sets the order, skips tasks that would not end in time, and ends the training."""


class Session(Protocol):
    """Runs units on data that were placed on the workers once.

    One thread submits units and reads events. `stop` and `checkpoint` can also be called from a signal handler. A task
    that fails does not end the others. Each task that was submitted ends with one event of `events.ENDS` for which
    another attempt does not follow. When the session is closed, running tasks are given up.
    """

    def submit(self, units: Iterable[Unit]) -> None:
        """Add units to the queue, at any time, also between two events."""

    def place(self, addition: DataAddition) -> None:
        """Add to the data of the tasks that start from now on; rows that are already placed are not sent again."""

    def finish(self, task: Task) -> None:
        """Ask a running fit for its result: at its next report, or as soon as it has trained an epoch.

        The result is a `Fitted` that is not complete and has no test predictions. A fit that cannot end early, or that
        has already trained its last epoch, gives its whole result. A waiting task ends as `Cancelled`.
        """

    def cancel(self, task: Task) -> None:
        """End a task without a result, as `Cancelled`: at once if it is waiting, at its next report if it runs.

        A task that ends before it learns of this gives its result.
        """

    def events(self) -> Iterator[Event]:
        """Yield events until no task is waiting or running. It can be called again, also after an early exit.

        The caller handles each event before it takes the next.
        """

    def stop(self, within: float | None = None) -> None:
        """Ask every running task to checkpoint and end, and start no other; safe to call from a signal handler.

        Tasks that have not ended `within` seconds are given up; by default they have any time.
        """

    def checkpoint(self) -> None:
        """Ask every running task for a checkpoint now; the tasks continue. Safe to call from a signal handler."""


class Executor(Decoder, Protocol):
    """A place where sessions run and where pictures are decoded."""

    name: str

    def groups_for(self, resources: Resources, *, present: bool = False) -> Sequence[NodeGroup]:
        """The groups of nodes that can hold a unit with these resources, as `plan.groups.Places` says."""

    def slots(self, resources: Resources) -> int:
        """The number of units with these resources that can run at the same time; 0 if not even one fits."""

    def metrics(self, run: str) -> MetricSink:
        """Where the figures of a run go for the monitoring of the cluster."""

    def open(self, data: JobData, policy: Policy) -> AbstractContextManager[Session]:
        """Place the data on the workers and return a session."""

    def close(self) -> None: ...
