"""Run tasks in this process, one after another, without Ray; the results are the same."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from quorate.execution.base import Attempts, Policy, Sources, longest_first
from quorate.execution.budget import Agenda
from quorate.execution.events import Event, Failed, OutOfTime, Stopped
from quorate.execution.stream import Control, assign, stream, this_hardware
from quorate.plan.tasks import JobData, Resources, Task, Unit
from quorate.training.context import Hardware


class LocalExecutor:
    """One task at a time, in a thread of this process."""

    name = "local"

    def __init__(self) -> None:
        self._control = Control()

    def hardware(self) -> Hardware:
        return this_hardware()

    def slots(self, resources: Resources) -> int:
        here = self.hardware()
        return int(resources.cpus <= (os.cpu_count() or 1) and resources.gpus <= here.gpus)

    def run(
        self,
        units: Sequence[Unit],
        *,
        context: JobData,
        sources: Sources,
        policy: Policy,
        agenda: Agenda | None = None,
    ) -> Iterator[Event]:
        attempts = Attempts(policy)
        queue = deque(task for unit in longest_first(units) for task in unit.tasks)
        while queue and not self._control.stop.is_set():
            task = _next(queue, agenda)
            if task is None:
                break
            left, over = (agenda.seconds_left(), self._watched(agenda)) if agenda else (None, None)
            tests = agenda.for_tests((task,) for task in queue) if agenda else 1.0
            number = attempts.number(task)
            assignment = assign(task, number, sources=sources, policy=policy, seconds_left=left, for_tests=tests)
            for event in stream(assignment, context, self._control, over=over):
                if isinstance(event, Failed):
                    counted = attempts.after(event)
                    if not counted.final:
                        queue.append(task)
                    yield counted
                else:
                    yield event
        for task in queue:
            if agenda is None or self._control.stop.is_set():
                yield Stopped(task)
            else:
                yield OutOfTime(task, False, agenda.why_not(task))

    def stop(self) -> None:
        self._control.stop.set()

    def checkpoint(self) -> None:
        self._control.checkpoint.set()

    def close(self) -> None:
        self._control.stop.set()

    def _watched(self, agenda: Agenda) -> Callable[[], bool]:
        """Whether to give up the task; each call also updates the deadline of the task."""

        def over() -> bool:
            self._control.end_in(agenda.seconds_left())
            return agenda.over()

        return over


def _next(queue: deque[Task], agenda: Agenda | None) -> Task | None:
    """Remove the next task from the queue; None if there is no time for any task."""
    if agenda is None:
        return queue.popleft()
    if agenda.over():
        return None
    for (task,) in agenda.order((task,) for task in queue):
        if agenda.may_start(task):
            queue.remove(task)
            return task
    return None
