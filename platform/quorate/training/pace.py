"""What the training loop steps beside the optimizer: the schedule of the rate, and that of the momentum."""

from __future__ import annotations

from torch.optim import Optimizer

from quorate.registry import SCHEDULES, KindParams
from quorate.training.momentum import RisingMomentum
from quorate.training.optimizers import SgdParams
from quorate.training.schedule import CombinedSchedule, Schedule


def schedule_of(rate: KindParams, step: KindParams, optimizer: Optimizer, *, epochs: int, steps: int) -> Schedule:
    """The schedule with the parameters `rate` for the optimizer that was made of the parameters `step`.

    A training has so many `epochs` with so many `steps` each.
    """
    schedule: Schedule = SCHEDULES.get(rate.kind).build(rate, optimizer, epochs=epochs, steps=steps)
    if isinstance(step, SgdParams) and step.momentum_warmup is not None:
        rising = RisingMomentum(optimizer, step.momentum_warmup, momentum=step.momentum, steps=steps)
        return CombinedSchedule(schedule, rising)
    return schedule
