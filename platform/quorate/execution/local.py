"""Run tasks in this process, one after another, without Ray; the results are the same."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from quorate.data.decoding import ThreadDecoder
from quorate.execution.assignment import Assignment, Control
from quorate.execution.backlog import Backlog
from quorate.execution.base import Policy, Session
from quorate.execution.content import inline
from quorate.execution.events import ENDS, Event
from quorate.execution.hardware import this_node
from quorate.execution.metrics import MetricSink, NoMetrics
from quorate.execution.silence import SilenceWatch
from quorate.execution.stream import stream
from quorate.plan.groups import NodeGroup, group_nodes
from quorate.plan.tasks import DataAddition, JobData, Resources, Task, Unit


class LocalExecutor(ThreadDecoder):
    """One task at a time, in a thread of this process."""

    name = "local"

    def __init__(self) -> None:
        self._node = this_node()

    def groups_for(self, resources: Resources, *, present: bool = False) -> Sequence[NodeGroup]:
        return group_nodes([self._node] if self._node.holds(resources) else [])

    def slots(self, resources: Resources) -> int:
        return int(self._node.holds(resources))

    def metrics(self, run: str) -> MetricSink:
        return NoMetrics()

    @contextmanager
    def open(self, data: JobData, policy: Policy) -> Iterator[Session]:
        session = LocalSession(data, policy)
        try:
            yield session
        finally:
            session.stop()

    def close(self) -> None:
        """Do nothing: a session ends its task when it is closed."""


class LocalSession:
    """The session of this process."""

    def __init__(self, data: JobData, policy: Policy) -> None:
        self._data, self._control = data, Control()
        self._backlog = Backlog(policy)
        self._write = policy.destination.connect() if policy.destination is not None else inline
        self._rest: deque[Task] = deque()
        """The tasks of the unit at work that come after the running one."""
        self._running: dict[str, Assignment] = {}
        """By the key of the task."""
        self._stream: Iterator[Event] | None = None
        self._silence = SilenceWatch(policy.patience, data)
        self._give_up_at = math.inf
        """When a task that was asked to stop is given up, on the clock of `time.monotonic`."""

    def submit(self, units: Iterable[Unit]) -> None:
        self._backlog.submit(units)

    def place(self, addition: DataAddition) -> None:
        self._data = addition.added_to(self._data)

    def finish(self, task: Task) -> None:
        if not self._ask(task, "finish"):
            self._withdraw(task)

    def cancel(self, task: Task) -> None:
        if not self._ask(task, "cancel"):
            self._withdraw(task)

    def events(self) -> Iterator[Event]:
        while True:
            yield from self._backlog.ended()
            if self._stream is None and not self._begin_next():
                if self._backlog.has_ended:
                    continue
                return
            assert self._stream is not None
            event = next(self._stream, None)
            if event is None:
                self._stream = None
                continue
            self._silence.on(event)
            if isinstance(event, ENDS):
                self._running.pop(event.task.key, None)
            yield self._backlog.counted(event)
            del event  # it may hold a result, and the next one can take hours

    def stop(self, within: float | None = None) -> None:
        if within is not None:
            self._give_up_at = time.monotonic() + within
        self._control.stop.set()

    def checkpoint(self) -> None:
        self._control.checkpoints += 1

    def _begin_next(self) -> bool:
        """Begin the next task; False if there is none, or none that can still be run."""
        agenda = self._backlog.agenda
        if self._control.stop.is_set() or (agenda is not None and agenda.over()):
            self._backlog.put_back(self._rest)
            self._backlog.end_all(stopped=self._control.stop.is_set())
            return False
        if not self._rest:
            while (unit := self._backlog.take(lambda wanted: ())) is None:
                if not self._backlog or self._backlog.is_too_late:
                    self._backlog.end_all(stopped=False)
                    return False
            self._rest.extend(unit.tasks)
        assignments = self._backlog.next_tasks(self._rest)
        self._running = {assignment.task.key: assignment for assignment in assignments}
        over, watch = self._is_over, self._silent
        self._stream = stream(assignments, self._data, self._control, over=over, watch=watch, write=self._write)
        return True

    def _silent(self) -> Sequence[Event]:
        """The running tasks that have been silent for too long: they are reported, as a thread cannot be ended."""
        if not self._silence.time.is_time():
            return ()
        silent = self._silence.overdue([assignment.task for assignment in self._running.values()])
        return [replace(one, spared="it runs in this process") for one in silent]

    def _ask(self, task: Task, what: Literal["finish", "cancel"]) -> bool:
        """Ask a running task to end; False if it does not run."""
        if task.key not in self._running:
            return False
        self._backlog.is_asked_to_end(task)
        self._control.asked[self._running[task.key].number] = what
        return True

    def _withdraw(self, task: Task) -> None:
        """Cancel a task that has not begun."""
        if not self._backlog.cancel(task):
            self._backlog.cancel_next(task, self._rest)

    def _is_over(self) -> bool:
        """Whether to give up the running tasks; each call also updates their deadline."""
        agenda = self._backlog.agenda
        if agenda is not None:
            self._control.end_in(agenda.seconds_left())
        return (agenda is not None and agenda.over()) or time.monotonic() >= self._give_up_at
