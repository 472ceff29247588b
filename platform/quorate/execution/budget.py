"""Apply a time budget: how much work fits, which tasks may still start, and when training ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from quorate.execution.estimates import Estimates, epochs_of
from quorate.plan.tasks import FitTask, Task

_TRANSIT_SECONDS = 1.0
"""Seconds to send and store the result of a network that stops at its deadline (an assumption)."""
_FOR_TESTS = 0.15
"""Largest part of the remaining time for a member's test predictions if the time does not suffice for all tasks. An
assumption: other tasks lose this time, but without it an ensemble that contains the member has no test metrics."""
_HOPE = 4.0
"""A network starts even if its unmeasured estimate is too long by this factor: in bfloat16, 20 s were really 5 s."""


@dataclass
class Budget:
    """Seconds for the whole command, counted from `began` (`time.monotonic`); `reserve` of them are for the work after
    training."""

    seconds: float
    began: float
    reserve: float = 0.0
    startup: float = 0.0
    """Seconds that were used before training began."""

    def used(self) -> float:
        return time.monotonic() - self.began

    def left(self) -> float:
        """Seconds until the command must end."""
        return self.seconds - self.used()

    def training_left(self) -> float:
        """Seconds until training must end."""
        return self.left() - self.reserve


def round_of(task: Task) -> int:
    """The fold of a fit task, so that members have folds in common; -1 for tasks without a fold, such as features."""
    return task.fold if isinstance(task, FitTask) else -1


@dataclass(frozen=True)
class Agenda:
    """What an executor does under a budget; `share` returns the share of all workers that a task occupies."""

    budget: Budget
    estimates: Estimates
    share: Callable[[Task], float]
    round_of: Callable[[Task], int] = round_of
    """The round of a task: tasks of an earlier round start first."""

    def seconds(self, tasks: Collection[Task]) -> float:
        """Estimated seconds of tasks that run one after another."""
        return sum(map(self.estimates.seconds, tasks))

    def work(self, task: Task) -> float:
        """Estimated seconds of a task, in seconds of all workers together."""
        return self.estimates.seconds(task) * self.share(task)

    def room(self) -> float:
        """The time for waiting tasks until training ends, in seconds of all workers together."""
        now = time.monotonic()
        busy = sum(self.estimates.seconds_left(task, now) * self.share(task) for task in self.estimates.running())
        return self.budget.training_left() - busy

    def may_start(self, task: Task) -> bool:
        """Whether the task would end in time if it started now; for a network, whether one epoch would.

        A network without any measurement may start even if its estimate is `_HOPE` times too long, because it can stop.
        """
        epochs = epochs_of(task)
        if not epochs:
            return self.estimates.seconds(task) <= self.budget.training_left()
        if not self.estimates.observed(task):
            return task.cost / epochs <= _HOPE * self.seconds_left()
        return self.estimates.least_seconds(task) <= self.seconds_left()

    def for_tests(self, waiting: float, soonest: float) -> float:
        """The part of the remaining time that a task may use for test rows: 1 if all other tasks have time too, or none
        has.

        `waiting` is the work of the waiting tasks, in seconds of all workers together. The first of them would end in
        `soonest` seconds if it started after this task.
        """
        return 1.0 if waiting <= self.room() or soonest > self.budget.training_left() else _FOR_TESTS

    def seconds_left(self) -> float:
        """Seconds until a task must return its result."""
        return self.budget.training_left() - _TRANSIT_SECONDS

    def over(self) -> bool:
        """Whether training is over, so that the executor gives up running tasks."""
        return self.budget.training_left() <= 0

    def why_not(self, task: Task) -> str:
        """The reason why a waiting task was not started."""
        left = self.budget.training_left()
        rest = f"{left:.1f} s were" if left >= 0.1 else "no time was"
        what = "an epoch of it takes" if epochs_of(task) else "it takes"
        return f"{what} about {self.estimates.least_seconds(task):.1f} s, and {rest} left for training"
