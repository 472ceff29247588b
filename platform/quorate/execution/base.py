"""The contract of an executor, and its policy for failed attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from quorate.execution.budget import Agenda
from quorate.execution.events import Event, Failed
from quorate.plan.tasks import FitTask, JobData, Resources, Task, Unit
from quorate.training.context import Hardware


@dataclass(frozen=True)
class Policy:
    """How often failed tasks are repeated and how often states are saved."""

    retries: int = 1
    lost_workers: int = 5
    checkpoint_seconds: float = 10.0
    workers: int | None = None


@dataclass(frozen=True)
class Sources:
    """Functions that read earlier work from the store; an executor calls them in the driver."""

    checkpoint: Callable[[FitTask], bytes | None]
    """Returns the newest checkpoint of a fit task; None if it has none."""
    files: Callable[[FitTask], dict[str, bytes]]
    """Returns the files of a finished fit task."""


class Executor(Protocol):
    """Runs units, the longest first, and yields their events; a task that fails does not end the others.

    Under a budget, the agenda sets the order, skips tasks that would not end in time, and ends the training.
    """

    name: str

    def hardware(self) -> Hardware:
        """The hardware of the workers."""

    def slots(self, resources: Resources) -> int:
        """The number of units with these resources that can run at the same time; 0 if not even one fits."""

    def run(
        self,
        units: Sequence[Unit],
        *,
        context: JobData,
        sources: Sources,
        policy: Policy,
        agenda: Agenda | None = None,
    ) -> Iterator[Event]:
        """Yield events until all units have ended; the caller handles each event before it takes the next."""

    def stop(self) -> None:
        """Ask every running task to checkpoint and end; safe to call from a signal handler."""

    def checkpoint(self) -> None:
        """Ask every running task for a checkpoint now; the tasks continue."""

    def close(self) -> None: ...


@dataclass
class Attempts:
    """Counts the attempts of each task and decides whether there is another one."""

    policy: Policy
    failed: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)

    def number(self, task: Task) -> int:
        """The number of the current attempt, counted from 1."""
        return 1 + self.failed.get(task.key, 0) + self.lost.get(task.key, 0)

    def after(self, event: Failed) -> Failed:
        """Count a failed attempt; the returned event says whether it was the last one."""
        counts, most = (
            (self.lost, self.policy.lost_workers) if event.status == "lost" else (self.failed, self.policy.retries)
        )
        number = self.number(event.task)
        counts[event.task.key] = counts.get(event.task.key, 0) + 1
        final = event.certain or counts[event.task.key] > most
        return replace(event, attempt=number, final=final)


def longest_first(units: Sequence[Unit]) -> list[Unit]:
    """Sort units by cost, the longest first, so that no long unit runs alone at the end."""
    return sorted(units, key=lambda unit: -unit.cost)
