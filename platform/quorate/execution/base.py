"""What an executor is asked, and how it meets failures."""

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
    """How failures are met and how often states are kept."""

    retries: int = 1
    lost_workers: int = 5
    checkpoint_seconds: float = 10.0
    workers: int | None = None


@dataclass(frozen=True)
class Sources:
    """Where an executor finds what earlier work left; called in the driver."""

    checkpoint: Callable[[FitTask], bytes | None]
    """The newest state of a fit task."""
    files: Callable[[FitTask], dict[str, bytes]]
    """The files of a finished one."""


class Executor(Protocol):
    """Runs units, longest first, and gives events as they come; a failing task never ends the others.

    Under a budget its agenda gives the order, and says which task is not begun, and when to give up.
    """

    name: str

    def hardware(self) -> Hardware:
        """What its workers run on."""

    def slots(self, resources: Resources) -> int:
        """How many units of that size run at the same time; 0 where one would never fit."""

    def run(
        self,
        units: Sequence[Unit],
        *,
        context: JobData,
        sources: Sources,
        policy: Policy,
        agenda: Agenda | None = None,
    ) -> Iterator[Event]:
        """Events of all units until each has ended; the caller has dealt with one when it asks for the next."""

    def stop(self) -> None:
        """Ask every running task to checkpoint and end; safe to call from a signal handler."""

    def checkpoint(self) -> None:
        """Ask every running task for its state now; it goes on."""

    def close(self) -> None: ...


@dataclass
class Attempts:
    """How often each task was tried, and whether it may be tried again."""

    policy: Policy
    failed: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)

    def number(self, task: Task) -> int:
        """The number of the attempt that runs now, from 1."""
        return 1 + self.failed.get(task.key, 0) + self.lost.get(task.key, 0)

    def after(self, event: Failed) -> Failed:
        """Count a failed attempt and say whether it was the last one."""
        counts, most = (
            (self.lost, self.policy.lost_workers) if event.status == "lost" else (self.failed, self.policy.retries)
        )
        number = self.number(event.task)
        counts[event.task.key] = counts.get(event.task.key, 0) + 1
        final = event.certain or counts[event.task.key] > most
        return replace(event, attempt=number, final=final)


def longest_first(units: Sequence[Unit]) -> list[Unit]:
    """The order of the one queue: the longest unit first, so that no long one is left at the end."""
    return sorted(units, key=lambda unit: -unit.cost)
