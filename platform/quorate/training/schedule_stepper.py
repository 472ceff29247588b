"""The schedules that the training loop steps besides the optimizer: learning rate and momentum."""

from __future__ import annotations

from torch.optim import Optimizer

from quorate.registry import SCHEDULES, KindParams
from quorate.training.momentum import RisingMomentum
from quorate.training.optimizers import SgdParams
from quorate.training.schedule import CombinedSchedule, Schedule


def schedule_of(rate: KindParams, step: KindParams, optimizer: Optimizer, *, epochs: int, steps: int) -> Schedule:
    """Create the schedule with the parameters `rate` for the optimizer created from the parameters `step`.

    The training has `epochs` epochs with `steps` steps each.
    """
    schedule: Schedule = SCHEDULES.get(rate.kind).build(rate, optimizer, epochs=epochs, steps=steps)
    if isinstance(step, SgdParams) and step.momentum_warmup is not None:
        rising = RisingMomentum(optimizer, step.momentum_warmup, momentum=step.momentum, steps=steps)
        return CombinedSchedule(schedule, rising)
    return schedule
