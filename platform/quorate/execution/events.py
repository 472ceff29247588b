"""The events of a task, from its start to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from quorate.data.features import Matrix
from quorate.execution.content import Content, HeldBytes, held_by
from quorate.execution.node_waits import NodeWait
from quorate.members.base import Proba
from quorate.plan.tasks import FeatureTask, FitTask, PredictTask, Task
from quorate.quantities import format_seconds
from quorate.training.context import Device, MemoryUse, Metrics

Status = Literal["failed", "diverged", "lost", "memory"]


@dataclass(frozen=True)
class Started:
    """A task starts on a worker; `restored` if it continues from a checkpoint with this number of epochs."""

    task: Task
    attempt: int
    worker: str
    log: str = ""
    restored: bool = False
    epochs: int = 0


@dataclass(frozen=True)
class NodeAwaited:
    """A task waits until a node that can hold it joins the cluster; repeated about once a second."""

    task: Task
    wait: NodeWait


@dataclass(frozen=True)
class Silent:
    """A running task has given no event for longer than the limit, in seconds."""

    task: Task
    seconds: float
    limit: float
    spared: str = ""
    """Why it is not ended; empty if it is."""

    def __str__(self) -> str:
        return f"no event for {format_seconds(self.seconds)}, with a limit of {format_seconds(self.limit)}"


@dataclass(frozen=True)
class HostSilent:
    """The host of a running task does not answer; after `limit` seconds its tasks start elsewhere."""

    task: Task
    host: str
    seconds: float
    limit: float

    def __str__(self) -> str:
        return (
            f"host {self.host} has not answered for {format_seconds(self.seconds)}; if it does not answer within "
            f"{format_seconds(self.limit)}, its tasks start elsewhere"
        )


@dataclass(frozen=True)
class Reported:
    """The metrics of one epoch."""

    task: FitTask
    epoch: int
    metrics: Metrics


@dataclass(frozen=True)
class Checkpointed:
    """A training state, packed by `pack_state`."""

    task: FitTask
    content: Content
    last: bool = False
    """Whether the task stops after it: the next attempt at the task needs it."""


@dataclass(frozen=True)
class Fitted:
    """A fit task has ended: validation probabilities (n_valid, K), curves, and the member's files."""

    task: FitTask
    valid: Proba
    history: list[dict[str, float]]
    files: Mapping[str, Content] = field(repr=False)
    seconds: float
    complete: bool
    """False if the fit was stopped early, by a deadline or because it was asked to finish."""
    test: Proba | None = None
    """Probabilities of the test rows; None if there are none, if they follow in `Predicted`, or if the fit was asked to
    finish."""
    ending: float = 0.0
    """Seconds for predictions and files after the fit."""
    predict_ms: float | None = None
    """Milliseconds per validation row, predicted in batches with the threads of the task."""
    memory: MemoryUse | None = None
    """The most memory that the fit used; None if it was not measured."""
    others: tuple[Fitted, ...] = ()
    """Results of the other members that the same fit produced."""

    @property
    def all(self) -> tuple[Fitted, ...]:
        """This result and those of `others`."""
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
    """Features of the rows of a task from a frozen network, float32 (n, width)."""

    task: FeatureTask
    matrix: Matrix
    seconds: float
    memory: MemoryUse | None = None
    """Peak memory; None if the system does not tell."""


@dataclass(frozen=True)
class Failed:
    """An attempt has failed; `final` if there is no other."""

    task: Task
    attempt: int
    status: Status
    message: str
    tail: str = ""
    """The last lines of the worker's log or traceback."""
    log: str = ""
    final: bool = True
    certain: bool = False
    """Whether every further attempt would fail in the same way."""
    device: Device = "cpu"
    """With the status `memory`, the device whose memory was exhausted."""
    used: MemoryUse | None = None
    """With the status `memory`, the most that the task used, as far as it is known."""
    host: str = ""
    """With the status `lost`, the host that was lost; empty if only the worker was."""


@dataclass(frozen=True)
class Stopped:
    """The task ended because the job was stopped; its checkpoint is kept."""

    task: Task


@dataclass(frozen=True)
class Cancelled:
    """The task was cancelled, or it was asked to finish before it had started; it has no result."""

    task: Task


@dataclass(frozen=True)
class OutOfTime:
    """The budget was too short: the task did not start, or did not end before the end of training."""

    task: Task
    begun: bool
    message: str


ENDS = Fitted | Predicted | Featured | Failed | Stopped | Cancelled | OutOfTime
"""Events that complete a task: if its worker dies afterwards, nothing is lost."""

Event = Started | NodeAwaited | Silent | HostSilent | Reported | Checkpointed | SoFar | ENDS


def with_contents(event: Event, change: Callable[[Content], Content]) -> Event:
    """The event with each of its contents changed, in the order of its files."""
    if isinstance(event, Checkpointed):
        return replace(event, content=change(event.content))
    if isinstance(event, SoFar):
        return replace(event, result=_with_files(event.result, change))
    return _with_files(event, change) if isinstance(event, Fitted) else event


def _with_files(done: Fitted, change: Callable[[Content], Content]) -> Fitted:
    files = {name: change(content) for name, content in done.files.items()}
    return replace(done, files=files, others=tuple(_with_files(other, change) for other in done.others))


def held_in(event: Event) -> HeldBytes:
    """The bytes of a result or of a state that the process of the driver holds."""
    if isinstance(event, Checkpointed):
        return held_by(event.content)
    if isinstance(event, Predicted):
        return HeldBytes(event.proba.nbytes)
    if isinstance(event, Featured):
        return HeldBytes(event.matrix.nbytes)
    if isinstance(event, SoFar):
        return held_in(event.result)
    if not isinstance(event, Fitted):
        return HeldBytes()
    arrays = sum(part.valid.nbytes + (part.test.nbytes if part.test is not None else 0) for part in event.all)
    return sum((held_by(content) for part in event.all for content in part.files.values()), HeldBytes(arrays))
