"""Find running tasks that have given no event for much longer than such tasks usually do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from quorate.execution.estimates import Estimates, epochs_of
from quorate.execution.events import ENDS, Event, HostSilent, NodeAwaited, Silent
from quorate.plan.tasks import FitTask, JobData, Task

_LOOK_SECONDS = 1.0
"""Seconds between two looks at the running tasks."""
_MOST_PER_LOOK = 2.0
"""The most seconds that count between two looks. The driver reads no event in between, for example while it waits for
the store, so a longer time says nothing about the workers."""


@dataclass(frozen=True)
class Patience:
    """How long a session waits for a sign of its tasks and workers, in seconds."""

    factor: float | None = 5.0
    """A task may be silent for this many times its estimated time between two events; None means any time."""
    measured: float = 120.0
    """The shortest limit for a task if a similar one has been measured."""
    unmeasured: float = 600.0
    """The shortest limit before that, because the estimate of the plan can be wrong (an assumption)."""
    frozen: float = 60.0
    """How long a worker may leave a call unanswered before its process is looked at. Native code can keep Python from
    answering, so this alone does not end a worker."""


class AttendedTime:
    """The seconds in which the driver looked at its workers at least every `_MOST_PER_LOOK` seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._last, self._looked = clock, clock(), -_LOOK_SECONDS
        self.seconds = 0.0

    def is_time(self) -> bool:
        """Count the time since the last call; True about once a second."""
        now = self._clock()
        self.seconds += min(now - self._last, _MOST_PER_LOOK)
        self._last = now
        if self.seconds - self._looked < _LOOK_SECONDS:
            return False
        self._looked = self.seconds
        return True


class SilenceWatch:
    """The running tasks of a session, and the time since the newest event of each.

    The limit of a task doubles each time that it was ended for its silence. So a task whose estimate is far too short
    still ends. A task without epochs, which gives no event until its end, is only reported before a similar one has
    been measured: nothing would be left of hours of work.
    """

    def __init__(self, patience: Patience, data: JobData, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._data, self._clock = patience, data, clock
        self._estimates = Estimates()
        self._heard: dict[str, float] = {}
        """When the newest event of a running task arrived, by its key."""
        self._ended: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self.time = AttendedTime(clock)

    def on(self, event: Event) -> None:
        """Note an event of a worker."""
        if isinstance(event, NodeAwaited | Silent | HostSilent):
            return
        self._estimates.on(event, self._clock())
        if isinstance(event, ENDS):
            self._heard.pop(event.task.key, None)
        else:
            self._heard[event.task.key] = self.time.seconds

    def hear(self, tasks: Iterable[Task]) -> None:
        """Note that these running tasks are not silent, although none of them has given an event."""
        for task in tasks:
            if task.key in self._heard:
                self._heard[task.key] = self.time.seconds

    def overdue(self, tasks: Collection[Task]) -> list[Silent]:
        """The tasks that a worker runs, if all of them have been silent for too long; each then counts as ended, or as
        reported if it is spared."""
        heard = [self._heard[task.key] for task in tasks if task.key in self._heard]
        if self._patience.factor is None or not heard:
            return []  # a worker that has not started yet can wait for its process or its data
        measured = all(map(self._estimates.observed, tasks))
        spared = "" if measured or all(map(epochs_of, tasks)) else "no similar task has been measured yet"
        counts = self._reported if spared else self._ended
        limit = self._limit(tasks, self._patience.factor, measured=measured)
        limit *= 2 ** max(counts[task.key] for task in tasks)
        quiet = self.time.seconds - max(heard)
        if quiet <= limit:
            return []
        for task in tasks:
            counts[task.key] += 1
            if not spared:
                self._heard[task.key] = self.time.seconds
        return [Silent(task, quiet, limit, spared) for task in tasks]

    def forget(self, tasks: Collection[Task]) -> None:
        """Tasks whose worker has ended are silent until they start again."""
        for task in tasks:
            self._heard.pop(task.key, None)

    def _limit(self, tasks: Collection[Task], factor: float, *, measured: bool) -> float:
        """Seconds for which tasks that share a worker may be silent the first time."""
        least = self._patience.measured if measured else self._patience.unmeasured
        usual = sum(self._estimates.least_seconds(task) * self._share_of_predictions(task) for task in tasks)
        return max(least, factor * usual)

    def _share_of_predictions(self, task: Task) -> float:
        """The rows that a fit predicts at its end, relative to those of an epoch, if there are more of them."""
        if not isinstance(task, FitTask):
            return 1.0
        fold, test = self._data.folds[0], self._data.test  # the folds have about the same size
        predicted = len(fold.valid) + (len(test) if test is not None else 0)
        return max(1.0, predicted / max(len(fold.train), 1))
