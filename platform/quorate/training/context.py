"""What a member may ask of the world while it trains, and what the world may ask of it."""

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
"""One epoch's figures, such as `train_loss` and `valid_accuracy`."""

Precision = Literal["float32", "bfloat16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Hardware:
    """What one worker runs on, as far as it decides a plan."""

    cores: int
    gpus: int
    fast_bfloat16: bool
    """Whether the device multiplies bfloat16 faster than float32."""
    cpu: str
    """The CPU's name: equal bits are promised on equal CPU types."""
    memory: int = 8 << 30
    """Bytes of one GPU where there are some, else of the machine."""


@dataclass(frozen=True)
class Numerics:
    """Everything beside seed, data and parameters that decides the bits of a fit task."""

    precision: Precision = "float32"
    memory_format: MemoryFormat = "contiguous"
    threads: int = 1
    device: Device = "cpu"
    batch_size: int = 0
    pack: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Signal(enum.Enum):
    """The answer to a report."""

    CONTINUE = "continue"
    CHECKPOINT = "checkpoint"
    """The state was taken and kept; go on."""
    STOP = "stop"
    """The state was taken and kept; return now with the best that there is."""


class Diverged(RuntimeError):
    """The loss is not a finite number any more, or the figures of a training cannot be right."""


class TaskContext(Protocol):
    """A member's only way to the world."""

    @property
    def seed(self) -> int:
        """Derived from (job, member, copy, fold)."""

    @property
    def numerics(self) -> Numerics: ...

    @property
    def deadline(self) -> float | None:
        """When to end, on the clock of `time.monotonic`, in seconds."""

    @property
    def restored(self) -> State | None:
        """State of the newest checkpoint, to go on from."""

    @property
    def unlabelled(self) -> Images | None:
        """The job's images without labels, for members that learn from them."""

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        """Say how it goes: `metrics` at the end of an epoch, None in between.

        `state` is called only when a checkpoint is due. `so_far` gives the member as it would be if it ended now. It is
        given where that has become better, and called where a deadline may come before the next epoch has ended.
        """

    def asset(self, path: Path) -> Path:
        """A local copy of a file that the job file names, wherever this runs."""
