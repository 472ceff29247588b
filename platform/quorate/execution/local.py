"""Runs tasks in this process, one after another: no cluster, no start-up, the same results."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence

from quorate.execution.base import Attempts, Event, Failed, Policy, Sources, Stopped, longest_first
from quorate.execution.stream import Control, assign, stream, this_hardware
from quorate.plan import Context, Resources, Unit
from quorate.training.run import Hardware


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

    def run(self, units: Sequence[Unit], *, context: Context, sources: Sources, policy: Policy) -> Iterator[Event]:
        attempts = Attempts(policy)
        queue = deque(task for unit in longest_first(units) for task in unit.tasks)
        while queue and not self._control.stop.is_set():
            task = queue.popleft()
            assignment = assign(task, attempts.number(task), sources=sources, policy=policy)
            for event in stream(assignment, context, self._control):
                if isinstance(event, Failed):
                    counted = attempts.after(event)
                    if not counted.final:
                        queue.append(task)
                    yield counted
                else:
                    yield event
        for task in queue:
            yield Stopped(task)

    def stop(self) -> None:
        self._control.stop.set()

    def checkpoint(self) -> None:
        self._control.checkpoint.set()

    def close(self) -> None:
        self._control.stop.set()
