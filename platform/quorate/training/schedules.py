"""Learning rate schedules that a job file can name: mostly torch's own, stepped once per batch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, ExponentialLR, LambdaLR, LRScheduler, OneCycleLR, StepLR

from quorate.registry import SCHEDULES
from quorate.training.plateau import FIGURES, ReduceOnPlateau
from quorate.training.schedule import ScheduleParams, warmup_of, with_warmup


class ConstantParams(ScheduleParams):
    kind: Literal["constant"] = "constant"


@SCHEDULES.register("constant")
class Constant:
    """The same learning rate throughout."""

    Params = ConstantParams

    @staticmethod
    def build(params: ConstantParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        return with_warmup(ConstantLR(optimizer, factor=1.0, total_iters=0), params, optimizer, steps=steps)


# `factor` is the default of torch's `StepLR`. The default of `every` is an assumption, not a measurement.
class StepParams(ScheduleParams):
    kind: Literal["step"] = "step"
    every: int = Field(10, ge=1)
    """Epochs between two steps."""
    factor: float = Field(0.1, gt=0, lt=1)
    """Factor by which the learning rate is multiplied at each step."""

    def check_after_warmup(self, epochs: int) -> None:
        if self.every >= epochs:
            raise self.too_few_epochs(
                epochs, f"with every: {self.every} the rate never falls", "lower every, or take constant"
            )


@SCHEDULES.register("step")
class Step:
    """The learning rate falls by a factor every few epochs."""

    Params = StepParams

    @staticmethod
    def build(params: StepParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        falling = StepLR(optimizer, step_size=params.every * steps, gamma=params.factor)
        return with_warmup(falling, params, optimizer, steps=steps)


# The default of `factor` is an assumption, not a measurement.
class ExponentialParams(ScheduleParams):
    kind: Literal["exponential"] = "exponential"
    factor: float = Field(0.9, gt=0, lt=1)
    """Factor by which the learning rate is multiplied over each epoch, a little at each batch."""


@SCHEDULES.register("exponential")
class Exponential:
    """The learning rate falls by the same fraction in each epoch, without steps."""

    Params = ExponentialParams

    @staticmethod
    def build(params: ExponentialParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        return with_warmup(ExponentialLR(optimizer, gamma=params.factor ** (1 / steps)), params, optimizer, steps=steps)


# The default of `half` is an assumption, not a measurement.
class InverseTimeParams(ScheduleParams):
    kind: Literal["inverse_time"] = "inverse_time"
    half: float = Field(5, gt=0, le=100_000)
    """Epochs until the learning rate is half of `lr`; it is a third after twice as many, a quarter after three
    times."""


@SCHEDULES.register("inverse_time")
class InverseTime:
    """The learning rate falls as 1/t (Robbins and Monro, 1951): fast at first, then ever more slowly."""

    Params = InverseTimeParams

    @staticmethod
    def build(params: InverseTimeParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        half = params.half * steps
        return with_warmup(LambdaLR(optimizer, lambda step: 1 / (1 + step / half)), params, optimizer, steps=steps)


class PlateauParams(ScheduleParams):
    kind: Literal["plateau"] = "plateau"
    metric: FIGURES = "valid_loss"
    """The metric to watch; a loss should fall, other metrics should rise."""
    factor: float = Field(0.1, gt=0, lt=1)
    """Factor by which the learning rate is multiplied; this and the next three parameters are those of torch's
    `ReduceLROnPlateau`."""
    patience: int = Field(10, ge=0)
    """Number of epochs without improvement that are allowed; the learning rate falls after the next one."""
    threshold: float = Field(1e-4, ge=0, lt=1)
    """Minimum relative change of the metric that counts as an improvement."""
    least: float = Field(0.0, ge=0, le=100)
    """Minimum learning rate."""

    def check_after_warmup(self, epochs: int) -> None:
        if self.patience + 2 >= epochs:  # the first epoch sets the reference, and one must follow the fall
            reason = f"with patience: {self.patience} the rate cannot fall"
            raise self.too_few_epochs(epochs, reason, "lower patience, or take constant")


@SCHEDULES.register("plateau")
class Plateau:
    """The learning rate falls by a factor when a validation metric has not improved for a while."""

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
    """Number of cycles in which the learning rate falls; each cycle after the first starts at `lr` again, at the
    beginning of an epoch (warm restarts)."""
    end: float = Field(0.0, ge=0, lt=1)
    """Learning rate at the end of each cycle, as a fraction of `lr`."""

    def check_after_warmup(self, epochs: int) -> None:
        if self.cycles > epochs:
            raise self.too_few_epochs(
                epochs, f"there is no room for {self.cycles} cycles", "lower cycles or raise epochs"
            )


@SCHEDULES.register("cosine")
class Cosine:
    """The learning rate falls along half a cosine, once or in cycles (Loshchilov and Hutter, 2017)."""

    Params = CosineParams

    @staticmethod
    def build(params: CosineParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        ends = [end * steps for end in cycle_ends(epochs - params.warmup, params.cycles)]
        starts = [0, *ends[:-1]]

        def part(step: int) -> float:
            """Return the fraction of `lr` in this step; torch calls it once after the last step, at the end of the last
            cycle."""
            start, end = next((a, b) for a, b in zip(starts, ends, strict=True) if step < b or b == ends[-1])
            return params.end + (1 - params.end) * (1 + math.cos(math.pi * (step - start) / (end - start))) / 2

        return with_warmup(LambdaLR(optimizer, part), params, optimizer, steps=steps)


def snapshot_epochs(params: CosineParams, epochs: int) -> tuple[int, ...]:
    """Return the epochs, from 0, at the end of each cycle except the last (Huang et al., 2017)."""
    ends = cycle_ends(epochs - params.warmup, params.cycles)
    return tuple(params.warmup + end - 1 for end in ends[:-1])


def cycle_ends(epochs: int, cycles: int) -> list[int]:
    """Return the number of epochs completed at the end of each cycle; cycles are whole epochs and differ by at most
    one."""
    return [epochs * (cycle + 1) // cycles for cycle in range(cycles)]


# The defaults are those of torch's `OneCycleLR`.
class OneCycleParams(ScheduleParams):
    kind: Literal["one_cycle"] = "one_cycle"
    rise: float = Field(0.3, gt=0, lt=1)
    """Fraction of the training in which the learning rate rises to `lr`; after that it falls."""
    start: float = Field(25, gt=1, allow_inf_nan=False)
    """The first learning rate is `lr / start`."""
    end: float = Field(1e4, gt=1, allow_inf_nan=False)
    """The last learning rate is the first one divided by `end`."""


@SCHEDULES.register("one_cycle")
class OneCycle:
    """The learning rate rises to `lr` and falls again along cosines (Smith and Topin, 2018)."""

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
        return with_warmup(cycle, params, optimizer, steps=steps)
