"""What an executor is asked and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from quorate.data.features import Matrix
from quorate.members.base import Proba
from quorate.plan import Context, FeatureTask, FitTask, PredictTask, Resources, Task, Unit
from quorate.training.run import Hardware, Metrics

if TYPE_CHECKING:
    from quorate.execution.budget import Agenda

Status = Literal["failed", "diverged", "lost"]


@dataclass(frozen=True)
class Started:
    """A task begins on a worker; `restored` where it goes on from a checkpoint."""

    task: Task
    attempt: int
    worker: str
    log: str = ""
    restored: bool = False


@dataclass(frozen=True)
class Reported:
    """The figures of one epoch."""

    task: FitTask
    epoch: int
    metrics: Metrics


@dataclass(frozen=True)
class Checkpointed:
    """A training state, as `pack_state` gives it."""

    task: FitTask
    content: bytes


@dataclass(frozen=True)
class Fitted:
    """A fit task has ended: validation probabilities (n_valid, K), curves, and the member's files."""

    task: FitTask
    valid: Proba
    history: list[dict[str, float]]
    files: dict[str, bytes] = field(repr=False)
    seconds: float
    complete: bool
    """False where it was stopped before its time."""
    test: Proba | None = None
    """Probabilities of the test rows, where the context has some."""
    ending: float = 0.0
    """Seconds that the predictions and files took after the fit."""
    others: tuple[Fitted, ...] = ()
    """The other members that the run gives, as far as it came to them."""

    @property
    def all(self) -> tuple[Fitted, ...]:
        """This result and the others of its run."""
        return (self, *self.others)


@dataclass(frozen=True)
class Predicted:
    """Probabilities (n, K) of the test rows."""

    task: PredictTask
    proba: Proba


@dataclass(frozen=True)
class Featured:
    """What a frozen network made of the task's rows, float32 (n, width)."""

    task: FeatureTask
    matrix: Matrix
    seconds: float


@dataclass(frozen=True)
class Failed:
    """An attempt has failed; `final` where there will be no other."""

    task: Task
    attempt: int
    status: Status
    message: str
    tail: str = ""
    """The last lines of the worker's log or traceback."""
    log: str = ""
    final: bool = True


@dataclass(frozen=True)
class Stopped:
    """The task gave up its place because everything was asked to stop; its checkpoint is kept."""

    task: Task


@dataclass(frozen=True)
class OutOfTime:
    """The budget was too short: the task was not begun, or had not ended when training was over."""

    task: Task
    begun: bool
    message: str


Event = Started | Reported | Checkpointed | Fitted | Predicted | Featured | Failed | Stopped | OutOfTime


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
        context: Context,
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
        final = event.status == "diverged" or counts[event.task.key] > most
        return Failed(event.task, number, event.status, event.message, event.tail, event.log, final)


def longest_first(units: Sequence[Unit]) -> list[Unit]:
    """The order of the one queue: the longest unit first, so that no long one is left at the end."""
    return sorted(units, key=lambda unit: -unit.cost)
