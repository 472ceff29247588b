"""Draw the faults of a job from a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.faults import FAULTS, Fault

_GAP = 0.12
"""Least time between two faults, as a part of the time of the undisturbed training."""


@dataclass(frozen=True)
class PlannedFault:
    """A fault that is given `at` seconds after the first epoch of the job, and ends `seconds` later."""

    at: float
    name: str
    target: int
    """Chooses among the workers or hosts that there are then."""
    seconds: float

    @property
    def fault(self) -> Fault:
        return FAULTS[self.name]

    def __str__(self) -> str:
        during = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:.1f} s {self.name} #{self.target}{during}"


@dataclass(frozen=True)
class Schedule:
    """The faults of one job, in the order of their times."""

    seed: int
    faults: tuple[PlannedFault, ...]

    @property
    def needs(self) -> frozenset[str]:
        """The services that its faults disturb."""
        return frozenset(one.fault.service for one in self.faults) - {""}

    def __str__(self) -> str:
        return f"SEED={self.seed}: {'; '.join(map(str, self.faults)) or 'no fault'}"


def draw(seed: int, *, seconds: float, short: bool = False) -> Schedule:
    """Draw the schedule of a seed, for a training that takes this number of seconds: two to four faults of any name.

    A `short` one has one or two, which cost no time besides the work that they destroy. Consecutive seeds take turns
    at one of the faults, so that a few of them give each fault.
    """
    chosen = random.Random(seed)
    known: Mapping[str, Fault] = {name: fault for name, fault in FAULTS.items() if fault.quick or not short}
    count = chosen.randint(1, 2) if short else chosen.randint(2, 4)
    names = [list(known)[(seed - 1) % len(known)]]
    names += chosen.choices(list(known), weights=[fault.weight for fault in known.values()], k=count - 1)
    chosen.shuffle(names)
    free = 0.85 - _GAP * (count - 1)
    starts = sorted(chosen.uniform(0, free) for _ in range(count))
    planned = []
    for number, (name, start) in enumerate(zip(names, starts, strict=True)):
        at = seconds * (start + _GAP * number)
        fault = known[name]
        least, most = fault.quick_seconds if short else fault.seconds
        planned.append(PlannedFault(at, name, chosen.randrange(1000), chosen.uniform(least, most)))
    return Schedule(seed, tuple(planned))
