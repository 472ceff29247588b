"""The tasks of a job that wait, and the time until all tasks have ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from quorate.execution.estimates import Estimates, Load, makespan
from quorate.plan.tasks import Task

_FEW = 64
"""Most waiting tasks for which a schedule is drawn; for more, its length is estimated from sums. An assumption."""


@dataclass
class _Alike:
    """Tasks with the same ratio of observed and planned seconds."""

    example: Task
    work: float = 0.0
    """Planned seconds times the share of all workers, summed."""
    longest: float = 0.0
    """Planned seconds of the longest task that has waited."""


class WaitingTasks:
    """Tasks that wait for a worker. No operation takes longer with more of them.

    `share` returns the share of all workers that a task occupies. Another thread may ask for `seconds_left`.
    """

    def __init__(self, tasks: Iterable[Task], estimates: Estimates, share: Callable[[Task], float]) -> None:
        self._estimates, self._share = estimates, share
        self._tasks: dict[str, Task] = {}
        self._alike: dict[tuple[str, ...], _Alike] = {}
        for task in tasks:
            self.add(task)

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task) -> None:
        if task.key in self._tasks:
            return
        self._tasks[task.key] = task
        alike = self._alike.setdefault(self._estimates.group(task), _Alike(task))
        alike.work += task.cost * self._share(task)
        alike.longest = max(alike.longest, task.cost)

    def discard(self, task: Task) -> None:
        if (added := self._tasks.pop(task.key, None)) is not None:
            self._alike[self._estimates.group(added)].work -= added.cost * self._share(added)

    def seconds_left(self, running: Sequence[Load]) -> float:
        """Estimated seconds until these and the waiting tasks have ended, the longest of which start first.

        With many tasks, the workers are busy until the last task; half of the longest one is added, because not all
        workers end at the same time.
        """
        if len(self._tasks) <= _FEW:
            waiting = [(self._estimates.seconds(task), self._share(task)) for task in list(self._tasks.values())]
            return makespan(running, sorted(waiting, reverse=True))
        work, longest = sum(seconds * share for seconds, share in running), 0.0
        for alike in list(self._alike.values()):
            ratio = self._estimates.ratio(alike.example)
            work, longest = work + ratio * alike.work, max(longest, ratio * alike.longest)
        return max(work + longest / 2, *(seconds for seconds, _ in running), 0.0)
