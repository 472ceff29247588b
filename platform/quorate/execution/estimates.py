"""Estimate the duration of tasks from the plan and from measurements, and the time until all tasks have ended."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from quorate.execution.events import ENDS, Event, Featured, Fitted, OutOfTime, Predicted, Reported, Started
from quorate.plan.tasks import FeatureTask, FitTask, PredictTask, Task

Load = tuple[float, float]
"""The duration of a unit in seconds, and its share of all workers."""


_STEADY_SECONDS = 2.0
"""Added to both sides of a ratio that comes from other members, because short tasks predict long ones badly."""


@dataclass
class _Running:
    """A running task: its start, the time of its newest report, and the number of epochs since."""

    since: float
    last: float
    reports: int = 0
    epoch: int = 0

    @property
    def pace(self) -> float:
        """Seconds per epoch."""
        return (self.last - self.since) / self.reports


@dataclass
class _Tally:
    estimated: float = 0.0
    observed: float = 0.0


class Estimates:
    """Estimated seconds of tasks: the plan's estimate times the ratio observed / estimated of the most similar tasks.

    These are the tasks of the same member in this job or an earlier one, else those of its kind, else all tasks. A
    running task counts with its seconds per epoch. Times are those of `time.monotonic`.
    """

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, ...], _Tally] = {}
        self._seen: dict[str, float] = {}
        self._running: dict[str, tuple[Task, _Running]] = {}

    @property
    def known(self) -> bool:
        """Whether there is a measurement yet; without one, only the estimates of the plan are available."""
        return bool(self._tallies)

    def reused(self, task: FitTask, seconds: float) -> None:
        """Add a fit of an earlier job, perhaps on another machine; it counts if this job has no similar measurement."""
        for level in _levels(task):
            self._add("before", level, _cost(task), seconds)

    def on(self, event: Event, now: float) -> None:
        """Add an event of the executor."""
        task = event.task
        if isinstance(event, Started):
            self._running[task.key] = (task, _Running(now, now))
            return
        _, running = self._running.get(task.key, (task, None))
        if isinstance(event, Reported) and running is not None:
            running.last, running.epoch, running.reports = now, event.epoch, running.reports + 1
            if epochs := epochs_of(task):
                self._observe(task, running.pace * epochs)
        elif isinstance(event, Fitted):
            self._observe(task, _whole(event))
        elif isinstance(event, Predicted | Featured) and running is not None:
            self._observe(task, now - running.since)
        elif isinstance(event, OutOfTime) and running is not None and not running.reports:
            least = 1.25 * (now - running.since) * (epochs_of(task) or 1)  # it needs more than the time that it had
            self._observe(task, max(self.seconds(task), least))
        if isinstance(event, ENDS):
            self._running.pop(task.key, None)

    def seconds(self, task: Task) -> float:
        """Estimated seconds of the whole task."""
        return _cost(task) * self.ratio(task)

    def group(self, task: Task) -> tuple[str, ...]:
        """What tasks with the same `ratio` have in common."""
        return next(_levels(task))

    def ratio(self, task: Task) -> float:
        """Estimated seconds of a task divided by those of its plan."""
        for level in _levels(task):
            for when in ("now", "before"):
                tally = self._tallies.get((when, *level))
                if tally is not None:
                    steady = 0.0 if level[:1] in (("member",), ("predict",), ("features",)) else _STEADY_SECONDS
                    return (tally.observed + steady) / (tally.estimated + steady)
        return 1.0

    def least_seconds(self, task: Task) -> float:
        """Estimated seconds until the task has a result: one epoch if it can end early, else the whole task."""
        return self.seconds(task) / (epochs_of(task) or 1)

    def observed(self, task: Task) -> bool:
        """Whether this job has measured a task of the same member or kind."""
        return any(("now", *level) in self._tallies for level in _levels(task) if level)

    def seconds_left(self, task: Task, now: float) -> float:
        """Estimated seconds until a running task ends, at least a quarter of the elapsed time (an assumption)."""
        whole = self.seconds(task)
        _, running = self._running.get(task.key, (task, None))
        if running is None:
            return whole
        epochs = epochs_of(task)
        if epochs and running.reports:
            return max(running.pace * (epochs - running.epoch) - (now - running.last), 0.0)
        elapsed = now - running.since
        return max(whole - elapsed, elapsed / 4)

    def running(self) -> list[Task]:
        """The tasks that have started and not ended."""
        return [task for task, _ in list(self._running.values())]

    def _observe(self, task: Task, seconds: float) -> None:
        """Set the measured seconds of a whole task; they replace an earlier measurement."""
        before = self._seen.get(task.key)
        self._seen[task.key] = seconds
        for level in _levels(task):
            self._add("now", level, _cost(task) if before is None else 0.0, seconds - (before or 0.0))

    def _add(self, when: str, level: tuple[str, ...], estimated: float, observed: float) -> None:
        tally = self._tallies.setdefault((when, *level), _Tally())
        tally.estimated, tally.observed = tally.estimated + estimated, tally.observed + observed


def epochs_of(task: Task) -> int | None:
    """The number of epochs of a task that can end after any of them; None if the task cannot end early."""
    if not isinstance(task, FitTask):
        return None
    return task.until or task.params.most_epochs


def makespan(running: Sequence[Load], waiting: Sequence[Load]) -> float:
    """Seconds until all units have ended, if the waiting units start in order as soon as workers are free."""
    ends = [(seconds, share) for seconds, share in running]
    heapq.heapify(ends)
    free, now, last = 1.0 - sum(share for _, share in ends), 0.0, max((end for end, _ in ends), default=0.0)
    for seconds, share in waiting:
        while free < share - 1e-9 and ends:
            now, given_back = heapq.heappop(ends)
            free += given_back
        heapq.heappush(ends, (now + seconds, share))
        free, last = free - share, max(last, now + seconds)
    return last


def _whole(event: Fitted) -> float:
    """Seconds of the whole task, extrapolated if the task was stopped after a part of its epochs."""
    epochs, done = epochs_of(event.task), len(event.history)
    scale = 1.0 if event.complete or not epochs else epochs / max(done, 1)
    return event.seconds * scale + event.ending


def _cost(task: Task) -> float:
    return max(task.cost, 1e-3)


def _levels(task: Task) -> Iterator[tuple[str, ...]]:
    """The groups of tasks to compare a task with, the most similar first."""
    if isinstance(task, PredictTask):
        yield ("predict", task.fit.member)
        yield ("predict",)
    elif isinstance(task, FeatureTask):
        yield ("features", task.label)
        yield ("features",)
    else:
        yield ("member", task.member)
        yield ("kind", task.kind)
        yield ()
