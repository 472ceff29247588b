"""What a budget means for the queue: who is next, who may still begin, and when training is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from quorate.execution.estimates import Estimates, epochs_of
from quorate.plan.tasks import FitTask, Task

_TRANSIT_SECONDS = 1.0
"""For the result of a network that stops at its deadline to be sent and kept."""
_FOR_TESTS = 0.05
"""Most part of the time left that the test rows of a member take while there is no time for all others."""
_HOPE = 4.0
"""How many times too long the estimate of a network may be before one was measured: 20 s were 5 s in bfloat16."""


@dataclass
class Budget:
    """Seconds for the whole command since `began` (`time.monotonic`), of which `reserve` come after the training."""

    seconds: float
    began: float
    reserve: float = 0.0
    startup: float = 0.0
    """Seconds that were used when the training began."""

    def used(self) -> float:
        return time.monotonic() - self.began

    def left(self) -> float:
        """Until the command is to have ended."""
        return self.seconds - self.used()

    def training_left(self) -> float:
        """Until training is to have ended."""
        return self.left() - self.reserve


@dataclass(frozen=True)
class Agenda:
    """The budget's answers to an executor; `share` is the part of all workers that a task holds."""

    budget: Budget
    estimates: Estimates
    share: Callable[[Task], float]

    def order(self, waiting: Iterable[tuple[Task, ...]]) -> list[tuple[Task, ...]]:
        """Units in the order in which they are to begin."""
        units, now = list(waiting), time.monotonic()
        busy = sum(self.estimates.seconds_left(task, now) * self.share(task) for task in self.estimates.running())
        waits = [
            QueuedUnit(round_of(tasks[0]), sum(map(self.estimates.seconds, tasks)), self.share(tasks[0]))
            for tasks in units
        ]
        return [units[i] for i in in_rounds(waits, room=self.budget.training_left() - busy)]

    def may_start(self, task: Task) -> bool:
        """Whether it is of use to begin now: it would end in time, or is a network that gets an epoch done.

        A network of which nothing was seen begins even if its estimate is too long by some factor, as it can stop.
        """
        epochs = epochs_of(task)
        if not epochs:
            return self.estimates.seconds(task) <= self.budget.training_left()
        if not self.estimates.observed(task):
            return task.cost / epochs <= _HOPE * self.seconds_left()
        return self.estimates.least_seconds(task) <= self.seconds_left()

    def for_tests(self, waiting: Iterable[tuple[Task, ...]]) -> float:
        """The part of the time left that a task may spend on test rows: all if what waits and runs has time besides."""
        now = time.monotonic()
        work = sum(self.estimates.seconds(task) * self.share(task) for tasks in waiting for task in tasks)
        work += sum(self.estimates.seconds_left(task, now) * self.share(task) for task in self.estimates.running())
        return 1.0 if work <= self.budget.training_left() else _FOR_TESTS

    def seconds_left(self) -> float:
        """How soon a task has to give its result, so that it counts."""
        return self.budget.training_left() - _TRANSIT_SECONDS

    def over(self) -> bool:
        """Whether what still runs is to be given up."""
        return self.budget.training_left() <= 0

    def why_not(self, task: Task) -> str:
        """Why a task that waited was not begun."""
        left = self.budget.training_left()
        rest = f"{left:.1f} s were" if left >= 0.1 else "no time was"
        what = "an epoch of it takes" if epochs_of(task) else "it takes"
        return f"{what} about {self.estimates.least_seconds(task):.1f} s, and {rest} left for training"


@dataclass(frozen=True)
class QueuedUnit:
    """A unit in the queue: its round, estimated seconds, and the share of all workers that it holds."""

    round: int
    seconds: float
    share: float


def in_rounds(waits: Sequence[QueuedUnit], *, room: float) -> list[int]:
    """The positions of `waits` in the order in which they are to begin.

    Rounds come one after another, so that each member has its first fold before any has its second. A round that fits
    into what is left of `room`, seconds of all workers together, begins with its longest unit, so that no long one is
    left at the end; one that does not fit with its cheapest, so that as many as possible are done.
    """
    order: list[int] = []
    for number in sorted({wait.round for wait in waits}):
        own = [i for i, wait in enumerate(waits) if wait.round == number]
        work = sum(waits[i].seconds * waits[i].share for i in own)
        sign = -1 if work <= room else 1
        order += sorted(own, key=lambda i: sign * waits[i].seconds)
        room -= work
    return order


def round_of(task: Task) -> int:
    """The fold of a fit task, so that members have folds in common; what has none, such as features, comes before."""
    return task.fold if isinstance(task, FitTask) else -1
