"""Learning rate schedules that a job file can name: torch's own, stepped once a batch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR, StepLR

from quorate.kinds import SCHEDULES, KindParams


class ConstantParams(KindParams):
    kind: Literal["constant"] = "constant"


@SCHEDULES.register("constant")
class Constant:
    """The same rate throughout."""

    Params = ConstantParams

    @staticmethod
    def build(params: ConstantParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        return ConstantLR(optimizer, factor=1.0, total_iters=0)


class StepParams(KindParams):
    kind: Literal["step"] = "step"
    every: int = Field(10, ge=1)
    """Epochs between two steps."""
    factor: float = Field(0.1, gt=0, lt=1)
    """What the rate is multiplied with at each step."""


@SCHEDULES.register("step")
class Step:
    """The rate falls by a factor every few epochs."""

    Params = StepParams

    @staticmethod
    def build(params: StepParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        return StepLR(optimizer, step_size=params.every * steps, gamma=params.factor)


class OneCycleParams(KindParams):
    kind: Literal["one_cycle"] = "one_cycle"
    rise: float = Field(0.3, gt=0, lt=1)
    """Part of the training in which the rate rises to `lr`; it falls in the rest."""
    start: float = Field(25, gt=1)
    """The first rate is `lr / start`."""
    end: float = Field(1e4, gt=1)
    """The last rate is the first one divided by `end`."""


@SCHEDULES.register("one_cycle")
class OneCycle:
    """Up to `lr` and down again along cosines (Smith and Topin, 2018)."""

    Params = OneCycleParams

    @staticmethod
    def build(params: OneCycleParams, optimizer: Optimizer, *, epochs: int, steps: int) -> LRScheduler:
        total = epochs * steps
        # torch divides by the length of the rise, which is `rise * total - 1` steps
        rise = params.rise if params.rise * total != 1 else params.rise * (1 + 1e-9)
        return OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=total,
            pct_start=rise,
            div_factor=params.start,
            final_div_factor=params.end,
            cycle_momentum=False,
        )
