"""The tasks of a session that have not ended: those that wait, and the attempts at those that failed."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from quorate.execution.assignment import Assignment, assign
from quorate.execution.base import Policy
from quorate.execution.events import ENDS, Cancelled, Event, Failed, Featured, Fitted, OutOfTime, Stopped
from quorate.execution.memory_faults import MemoryFaults
from quorate.execution.queue import Lacking, queue_for
from quorate.execution.reservations import Reservations
from quorate.plan.tasks import Resources, Task, Unit

_MEMORY_RETRIES = 1
"""Number of times that a task that exhausted a memory is repeated: alone on a node, or with half of the batch."""


@dataclass
class Attempts:
    """Counts the attempts of each task and decides whether there is another one."""

    policy: Policy
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By the key of the task and the fault."""
    numbers: Counter[str] = field(default_factory=Counter)

    def number(self, task: Task) -> int:
        """The number of the current attempt, counted from 1."""
        return 1 + self.numbers[task.key]

    def after(self, event: Failed) -> Failed:
        """Count a failed attempt; the returned event says whether it was the last one."""
        key, number = event.task.key, self.number(event.task)
        if event.status == "memory":
            fault, most = f"memory of {event.device}", _MEMORY_RETRIES
        elif event.status == "lost":
            fault, most = "lost", self.policy.lost_workers
        else:
            fault, most = "failed", self.policy.retries
        self.numbers[key] += 1
        self.counts[key, fault] += 1
        return replace(event, attempt=number, final=event.certain or self.counts[key, fault] > most)


class Backlog:
    """The part of a session that is the same for every executor.

    `most_memory` returns the memory of the largest node that has the other resources of a unit, and `whole_node` all of
    this node; None if memory is not counted. Tasks that end without a worker leave their event here; the session yields
    it (`ended`).
    """

    def __init__(
        self,
        policy: Policy,
        most_memory: Callable[[Resources], int] | None = None,
        whole_node: Callable[[Resources], Resources] | None = None,
    ) -> None:
        self._reservations = Reservations(most_memory, whole_node)
        self._memory_faults = MemoryFaults(self._reservations)
        self.policy, self.agenda = policy, policy.agenda
        self._queue = queue_for(policy.agenda)
        self._attempts = Attempts(policy)
        self._ended: deque[Event] = deque()
        self._asked: set[str] = set()
        """The keys of running tasks that were asked to end: they are not repeated."""
        self._together: set[str] = set()
        """The keys of tasks that are trained in one model with others."""
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """The number of waiting units."""
        return len(self._queue)

    def submit(self, units: Iterable[Unit]) -> None:
        for unit in units:
            self._add(unit)
            if unit.mode == "together":
                self._together |= {task.key for task in unit.tasks}

    def _add(self, unit: Unit, *, begun: bool = False) -> None:
        self._queue.add(self._reservations.of(unit), begun=begun)

    def take(self, lacking: Lacking) -> Unit | None:
        """The next unit for which there is room; None if there is none."""
        return self._queue.take(lacking)

    def ended(self) -> Iterator[Event]:
        """Take the events of tasks that ended without a worker."""
        while self._ended:
            yield self._ended.popleft()

    @property
    def has_ended(self) -> bool:
        """Whether there are events to take."""
        return bool(self._ended)

    def cancel(self, task: Task) -> bool:
        """Cancel a waiting task; False if it is not waiting."""
        if removed := self._queue.remove(task):
            self._ended.append(Cancelled(task))
        return removed

    def cancel_next(self, task: Task, rest: deque[Task]) -> bool:
        """Cancel a task that waits behind another one of its unit; False if it is not one of these."""
        for waiting in rest:
            if waiting.key == task.key:  # not `==`: with half of the batch, it is another object
                rest.remove(waiting)
                self._ended.append(Cancelled(waiting))
                return True
        return False

    def is_asked_to_end(self, task: Task) -> None:
        """Do not repeat this running task if it fails."""
        self._asked.add(task.key)

    def next_tasks(self, tasks: deque[Task]) -> list[Assignment]:
        """Remove the tasks of a unit that a worker runs next: the first, or all that are trained together."""
        number = len(tasks) if tasks[0].key in self._together else 1
        chosen = [tasks.popleft() for _ in range(number)]
        share = self._queue.share_for_tests(chosen, tasks)
        for task in chosen:
            self._reservations.begin(task)
        return [
            assign(
                task,
                next(self._numbers),
                attempt=self._attempts.number(task),
                policy=self.policy,
                together=number > 1 or task.key in self._together,
                seconds_left=self.agenda.seconds_left() if self.agenda is not None else None,
                for_tests=share,
            )
            for task in chosen
        ]

    def counted(self, event: Event) -> Event:
        """Count an event. A failed task returns to the queue unless that was its last attempt; the event says so."""
        if isinstance(event, Failed):
            event, again = self._judged(event, ended=False)
            if not event.final:
                self.put_back(deque([again]))
                return event
        if isinstance(event, Fitted | Featured) and (change := self._reservations.learn(event)) is not None:
            self._queue.change(self._reservations.of, None if change == "all" else event.task.member)
        if isinstance(event, ENDS):
            self._reservations.end(event.task)
            self._asked.discard(event.task.key)
            self._together.discard(event.task.key)
        return event

    def lost(self, failures: Iterable[Failed]) -> list[Failed]:
        """Count the tasks of a lost worker as failed; those with another attempt wait again, packs as one unit."""
        counted = [self._judged(event, ended=True) for event in failures]
        begun = all(event.status == "lost" for event, _ in counted)  # after a fault of memory, it may need a whole node
        self.put_back(deque(again for event, again in counted if not event.final), begun=begun)
        for event, _ in counted:
            if event.final:
                self._asked.discard(event.task.key)
                self._together.discard(event.task.key)
        return [event for event, _ in counted]

    def _judged(self, event: Failed, *, ended: bool) -> tuple[Failed, Task]:
        """Count a failure; the task is that of the next attempt, if there is one."""
        again = event.task
        if event.status == "memory":
            event, again = self._memory_faults.judge(event, ended=ended)
            self._queue.change(self._reservations.of)
        self._reservations.end(event.task)
        event = self._attempts.after(event)
        if event.status == "memory" and event.final:
            event = replace(event, message=f"out of memory: {event.message}")
        return event, again

    def put_back(self, tasks: deque[Task], *, begun: bool = False) -> None:
        """Put tasks that a worker has not ended back into the queue, except those that were asked to end.

        Those that it has `begun` start before others. Tasks that are trained together stay one unit. Others become
        units of their own, so that a task that ends its worker again does not delay the others.
        """
        together: list[Task] = []
        while tasks:
            task = tasks.popleft()
            if task.key in self._asked:
                self._asked.remove(task.key)
                self._together.discard(task.key)
                self._ended.append(Cancelled(task))
            elif task.key in self._together:
                together.append(task)
            else:
                self._add(Unit((task,)), begun=begun)
        if together:
            self._add(Unit(tuple(together), "together"), begun=begun)

    def end_all(self, *, stopped: bool) -> None:
        """End all waiting tasks, as `Stopped` or as `OutOfTime`."""
        for task in (task for unit in self._queue.drain() for task in unit.tasks):
            if stopped:
                self._ended.append(Stopped(task))
            else:
                assert self.agenda is not None, "without a budget, all tasks can start at some time"
                self._ended.append(OutOfTime(task, False, self.agenda.why_not(task)))

    @property
    def is_too_late(self) -> bool:
        """Whether no waiting unit would end in time."""
        return self.agenda is not None and not self._queue.can_start_any

    def waiting(self) -> dict[Resources, tuple[Unit, int]]:
        """A waiting unit and the number of waiting units, for each of the different resources."""
        return self._queue.waiting()

    def refuse(self, resources: Resources, message: str) -> None:
        """Fail all waiting tasks with these resources."""
        for unit in self._queue.drain(resources):
            self._ended.extend(Failed(task, self._attempts.number(task), "failed", message) for task in unit.tasks)
