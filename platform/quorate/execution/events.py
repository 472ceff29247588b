"""What an executor tells of a task, from its start to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from quorate.data.features import Matrix
from quorate.members.base import Proba
from quorate.plan.tasks import FeatureTask, FitTask, PredictTask, Task
from quorate.training.context import Metrics

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
    predict_ms: float | None = None
    """Milliseconds that a validation row took, in batches, with the task's threads."""
    others: tuple[Fitted, ...] = ()
    """The other members that the run gives, as far as it came to them."""

    @property
    def all(self) -> tuple[Fitted, ...]:
        """This result and the others of its run."""
        return (self, *self.others)


@dataclass(frozen=True)
class SoFar:
    """An interim result of a network, without test predictions; it is used if the fit does not end in time."""

    task: FitTask
    result: Fitted


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
    certain: bool = False
    """Whether every other attempt would fail in the same way."""


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


ENDS = Fitted | Predicted | Featured | Failed | Stopped | OutOfTime
"""Events after which nothing of the task is lost if its worker dies."""

Event = Started | Reported | Checkpointed | SoFar | Fitted | Predicted | Featured | Failed | Stopped | OutOfTime
