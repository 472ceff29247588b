"""The interface of schedules in the training loop, and the shared parameters of all schedules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR, LRScheduler, SequentialLR

from quorate.registry import KindParams


class Schedule(Protocol):
    """Sets the optimizer's learning rates, or another value that varies with time, like torch's schedulers."""

    def step(self) -> None:
        """Called after each step of the optimizer."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


@runtime_checkable
class WatchesEpochs(Protocol):
    """A schedule that depends on the metrics of the epochs."""

    def end_epoch(self, figures: Mapping[str, float]) -> None:
        """Called after the last `step` of each epoch with the metrics of that epoch."""


class CombinedSchedule:
    """Several schedules as one; each sets its own part of the optimizer's settings."""

    def __init__(self, *schedules: Schedule) -> None:
        self._schedules = schedules

    def step(self) -> None:
        for schedule in self._schedules:
            schedule.step()

    def end_epoch(self, figures: Mapping[str, float]) -> None:
        for schedule in self._schedules:
            if isinstance(schedule, WatchesEpochs):
                schedule.end_epoch(figures)

    def state_dict(self) -> dict[str, Any]:
        return {"schedules": [schedule.state_dict() for schedule in self._schedules]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        states: Sequence[dict[str, Any]] = state_dict["schedules"]
        for schedule, state in zip(self._schedules, states, strict=True):
            schedule.load_state_dict(state)


class TimedParams(KindParams):
    """Parameters that count epochs; they can be invalid for a training with too few epochs."""

    def check_epochs(self, epochs: int) -> None:
        """Raise `ValueError` if the parameters are impossible with this number of epochs."""


# The default of `warmup_start` is an assumption, not a measurement.
class ScheduleParams(TimedParams):
    warmup: int = Field(0, ge=0)
    """Epochs at the beginning in which the learning rate rises linearly to the schedule's first learning rate; the
    schedule uses the remaining epochs."""
    warmup_start: float = Field(0.1, gt=0, lt=1)
    """Fraction of the schedule's first learning rate at which the warm-up begins."""

    def check_epochs(self, epochs: int) -> None:
        if self.warmup >= epochs:
            raise ValueError(
                f"schedule.warmup is {self.warmup}, which leaves no epoch of {_epochs(epochs)} for the schedule; lower "
                "it or raise epochs"
            )
        self.check_after_warmup(epochs - self.warmup)

    def check_after_warmup(self, epochs: int) -> None:
        """Raise `ValueError` if there are too few epochs after the warm-up."""

    def too_few_epochs(self, epochs: int, reason: str, fix: str) -> ValueError:
        """Create the error of `check_after_warmup`."""
        after = " after the warm-up" if self.warmup else ""
        return ValueError(f"schedule {self.kind}: {reason} in the {_epochs(epochs)}{after}; {fix}")


def with_warmup(schedule: LRScheduler, params: ScheduleParams, optimizer: Optimizer, *, steps: int) -> LRScheduler:
    """Add a linear warm-up of `params.warmup` epochs with `steps` steps each to `schedule`; without one, return it
    unchanged."""
    if not params.warmup:
        return schedule
    rise = warmup_of(params, optimizer, steps=steps)
    return SequentialLR(optimizer, [rise, schedule], milestones=[params.warmup * steps])


def warmup_of(params: ScheduleParams, optimizer: Optimizer, *, steps: int) -> LinearLR:
    """Raise the learning rates from `warmup_start` times their current values to these values."""
    return LinearLR(optimizer, start_factor=params.warmup_start, total_iters=params.warmup * steps)


def _epochs(count: int) -> str:
    return f"{count} epochs" if count != 1 else "1 epoch"
