"""The interface between a member in training and its environment."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from quorate.data.dataset import Images

State = dict[str, Any]
"""A full training state: a tree of JSON values, torch tensors and NumPy arrays."""

Metrics = Mapping[str, float]
"""The metrics of one epoch, such as `train_loss` and `valid_accuracy`."""

Precision = Literal["float32", "bfloat16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Accelerator:
    """One accelerator of a node."""

    name: str
    """Its type as Ray names it, such as `H100`."""
    memory: int
    """Bytes."""
    fast_bfloat16: bool
    """Whether it multiplies bfloat16 faster than float32."""


@dataclass(frozen=True)
class Hardware:
    """The properties of a node that a plan depends on."""

    cores: int
    gpus: int
    fast_bfloat16: bool
    """Whether the CPU multiplies bfloat16 faster than float32."""
    cpu: str
    """The CPU's name and instruction set: results are bit-identical on equal CPU types only."""
    memory: int = 8 << 30
    """Memory of the machine in bytes. The default is an assumption, not a measurement."""
    accelerator: Accelerator | None = None
    """Its accelerators are alike; None if it has none."""
    memory_limit: int | None = None
    """Bytes of memory that the container may use; None without a limit."""
    room: int = 5 << 30
    """Bytes of memory for the workers of the node, without Ray's object store. The default is an assumption."""

    def memory_of(self, device: Device) -> int:
        """Bytes of memory of one accelerator, or of the machine."""
        return self.accelerator.memory if device == "cuda" and self.accelerator is not None else self.memory

    def prefers_bfloat16(self, device: Device) -> bool:
        """Whether the device multiplies bfloat16 faster than float32."""
        if device == "cuda" and self.accelerator is not None:
            return self.accelerator.fast_bfloat16
        return self.fast_bfloat16

    def __str__(self) -> str:
        parts = [f"{self.cores} core{'s' * (self.cores != 1)} {self.cpu}"]
        parts += ["fast bfloat16"] if self.fast_bfloat16 else []
        parts += [f"{self.room / 2**30:.1f} GiB for tasks"]
        if self.accelerator is not None:
            parts += [f"{self.gpus} x {self.accelerator.name} ({self.accelerator.memory / 2**30:.0f} GiB)"]
        return ", ".join(parts)


@dataclass(frozen=True)
class MemoryUse:
    """Memory of a fit task in bytes: what its process adds to the node, and what it takes of an accelerator."""

    node: int
    accelerator: int = 0


@dataclass(frozen=True)
class Numerics:
    """The numerical settings that, besides seed, data and parameters, determine the exact bits of a fit task."""

    precision: Precision = "float32"
    memory_format: MemoryFormat = "contiguous"
    threads: int = 1
    device: Device = "cpu"
    batch_size: int = 0
    pack: int = 1
    """Number of fits that are planned for one model; 1 if each has a model of its own."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Signal(enum.Enum):
    """The return value of a report."""

    CONTINUE = "continue"
    CHECKPOINT = "checkpoint"
    """The state was saved; continue."""
    STOP = "stop"
    """The state was saved; return now with the best model so far."""


ENDED = "ended"
"""The key of a restored state that is true if the training ended with it: then the best model so far is the result."""
OTHER_PARAMETERS = "other parameters"
"""The key of a restored state that is true if the training so far had other parameters; it ends with an epoch."""


class Diverged(RuntimeError):
    """The loss is no longer finite, or the metrics of a training run are impossible."""


class TaskContext(Protocol):
    """A member's only connection to its environment."""

    @property
    def seed(self) -> int:
        """The seed derived from (job, member, copy, fold)."""

    @property
    def numerics(self) -> Numerics: ...

    @property
    def deadline(self) -> float | None:
        """Time by which to finish, in seconds on the clock of `time.monotonic`."""

    @property
    def restored(self) -> State | None:
        """The state of the newest checkpoint, to resume from."""

    @property
    def unlabelled(self) -> Images | None:
        """The job's images without labels, for members that learn from them."""

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        """Report progress: `metrics` at the end of an epoch, None in between.

        `state` is called only when a checkpoint is due. `so_far` returns the member as it would be if training ended
        now. It is passed when that member has improved, and called when a deadline may pass before the end of the next
        epoch.
        """

    def asset(self, path: Path) -> Path:
        """Return a local copy of a file that the job file names, on any machine."""


class DelegatingContext:
    """A context that passes on another one, except for the state to resume from and what a subclass changes."""

    def __init__(self, context: TaskContext, restored: State | None) -> None:
        self._context = context
        self.seed, self.numerics, self.restored = context.seed, context.numerics, restored

    @property
    def deadline(self) -> float | None:
        return self._context.deadline

    @property
    def unlabelled(self) -> Images | None:
        return self._context.unlabelled

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        return self._context.report(metrics, state, so_far)

    def asset(self, path: Path) -> Path:
        return self._context.asset(path)
