"""Learning rate schedules that a job file can name: torch's own, stepped once a batch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, ExponentialLR, LambdaLR, LRScheduler, OneCycleLR, StepLR

from quorate.registry import SCHEDULES
from quorate.training.plateau import FIGURES, ReduceOnPlateau
from quorate.training.schedule import ScheduleParams, warmed, warmup_of


class ConstantParams(ScheduleParams):
    kind: Literal["constant"] = "constant"


@SCHEDULES.register("constant")
class Constant:
    """The same rate throughout."""

    Params = ConstantParams

    @staticmethod
    def build(params: ConstantParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        return warmed(ConstantLR(optimizer, factor=1.0, total_iters=0), params, optimizer, steps=steps)


class StepParams(ScheduleParams):
    kind: Literal["step"] = "step"
    every: int = Field(10, ge=1)
    """Epochs between two steps."""
    factor: float = Field(0.1, gt=0, lt=1)
    """What the rate is multiplied with at each step."""

    def check_after_warmup(self, epochs: int) -> None:
        if self.every >= epochs:
            raise self.too_few(
                epochs, f"with every: {self.every} the rate never falls", "lower every, or take constant"
            )


@SCHEDULES.register("step")
class Step:
    """The rate falls by a factor every few epochs."""

    Params = StepParams

    @staticmethod
    def build(params: StepParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        falling = StepLR(optimizer, step_size=params.every * steps, gamma=params.factor)
        return warmed(falling, params, optimizer, steps=steps)


class ExponentialParams(ScheduleParams):
    kind: Literal["exponential"] = "exponential"
    factor: float = Field(0.9, gt=0, lt=1)
    """What the rate is multiplied with in the course of each epoch, a little at each batch."""


@SCHEDULES.register("exponential")
class Exponential:
    """The rate falls by the same part in each epoch, without steps."""

    Params = ExponentialParams

    @staticmethod
    def build(params: ExponentialParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        return warmed(ExponentialLR(optimizer, gamma=params.factor ** (1 / steps)), params, optimizer, steps=steps)


class InverseTimeParams(ScheduleParams):
    kind: Literal["inverse_time"] = "inverse_time"
    half: float = Field(5, gt=0, le=100_000)
    """Epochs until the rate is half of `lr`; it is a third after twice as many, a quarter after three times."""


@SCHEDULES.register("inverse_time")
class InverseTime:
    """The rate falls as 1/t (Robbins and Monro, 1951): fast at first, then ever more slowly."""

    Params = InverseTimeParams

    @staticmethod
    def build(params: InverseTimeParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        half = params.half * steps
        return warmed(LambdaLR(optimizer, lambda step: 1 / (1 + step / half)), params, optimizer, steps=steps)


class PlateauParams(ScheduleParams):
    kind: Literal["plateau"] = "plateau"
    metric: FIGURES = "valid_loss"
    """The figure that is watched: it should fall if it is a loss, rise if it is not."""
    factor: float = Field(0.1, gt=0, lt=1)
    """What the rate is multiplied with; this and the next three are as in torch's `ReduceLROnPlateau`."""
    patience: int = Field(10, ge=0)
    """Epochs without improvement that are borne; the rate falls after the next one."""
    threshold: float = Field(1e-4, ge=0, lt=1)
    """Least relative change of the figure that counts as an improvement."""
    least: float = Field(0.0, ge=0, le=100)
    """The rate never falls below this."""

    def check_after_warmup(self, epochs: int) -> None:
        if self.patience + 2 >= epochs:  # the first epoch sets the mark, and one has to come after the fall
            reason = f"with patience: {self.patience} the rate cannot fall"
            raise self.too_few(epochs, reason, "lower patience, or take constant")


@SCHEDULES.register("plateau")
class Plateau:
    """The rate falls by a factor when a validation figure has not improved for a while."""

    Params = PlateauParams

    @staticmethod
    def build(params: PlateauParams, optimizer: Optimizer, *, epochs: int, steps: int) -> ReduceOnPlateau:
        return ReduceOnPlateau(
            optimizer,
            metric=params.metric,
            factor=params.factor,
            patience=params.patience,
            threshold=params.threshold,
            least=params.least,
            warmup=warmup_of(params, optimizer, steps=steps) if params.warmup else None,
        )


class CosineParams(ScheduleParams):
    kind: Literal["cosine"] = "cosine"
    cycles: int = Field(1, ge=1, le=1000)
    """How often the rate falls; with more than one it jumps back to `lr` at the end of an epoch (warm restarts)."""
    end: float = Field(0.0, ge=0, lt=1)
    """Part of `lr` at which each cycle ends."""

    def check_after_warmup(self, epochs: int) -> None:
        if self.cycles > epochs:
            raise self.too_few(epochs, f"there is no room for {self.cycles} cycles", "lower cycles or raise epochs")


@SCHEDULES.register("cosine")
class Cosine:
    """The rate falls along half a cosine, once or in cycles (Loshchilov and Hutter, 2017)."""

    Params = CosineParams

    @staticmethod
    def build(params: CosineParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        ends = [end * steps for end in cycle_ends(epochs - params.warmup, params.cycles)]
        starts = [0, *ends[:-1]]

        def part(step: int) -> float:
            """Of `lr` in this step; the last step of all is followed by one at the end of its cycle."""
            start, end = next((a, b) for a, b in zip(starts, ends, strict=True) if step < b or b == ends[-1])
            return params.end + (1 - params.end) * (1 + math.cos(math.pi * (step - start) / (end - start))) / 2

        return warmed(LambdaLR(optimizer, part), params, optimizer, steps=steps)


def snapshot_epochs(params: CosineParams, epochs: int) -> tuple[int, ...]:
    """The epochs, from 0, at whose ends the cycles before the last one end (Huang et al., 2017)."""
    ends = cycle_ends(epochs - params.warmup, params.cycles)
    return tuple(params.warmup + end - 1 for end in ends[:-1])


def cycle_ends(epochs: int, cycles: int) -> list[int]:
    """How many epochs are over at the end of each cycle: cycles of whole epochs that differ by one at most."""
    return [epochs * (cycle + 1) // cycles for cycle in range(cycles)]


class OneCycleParams(ScheduleParams):
    kind: Literal["one_cycle"] = "one_cycle"
    rise: float = Field(0.3, gt=0, lt=1)
    """Part of the training in which the rate rises to `lr`; it falls in the rest."""
    start: float = Field(25, gt=1, allow_inf_nan=False)
    """The first rate is `lr / start`."""
    end: float = Field(1e4, gt=1, allow_inf_nan=False)
    """The last rate is the first one divided by `end`."""


@SCHEDULES.register("one_cycle")
class OneCycle:
    """Up to `lr` and down again along cosines (Smith and Topin, 2018)."""

    Params = OneCycleParams

    @staticmethod
    def build(params: OneCycleParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        total = (epochs - params.warmup) * steps
        # torch divides by the length of the rise, which is `rise * total - 1` steps
        rise = params.rise if params.rise * total != 1 else params.rise * (1 + 1e-9)
        cycle = OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=total,
            pct_start=rise,
            div_factor=params.start,
            final_div_factor=params.end,
            cycle_momentum=False,
        )
        return warmed(cycle, params, optimizer, steps=steps)
