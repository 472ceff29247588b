"""A worker as the driver sees it: its node, the unit that it runs, and the stream of its events."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import ray

from quorate.execution.assignment import Assignment
from quorate.execution.events import Event, Fitted
from quorate.execution.ray.pieces import MOST_UNREAD, Arrivals, Piece
from quorate.plan.tasks import Resources, Task


@dataclass(eq=False)
class Actor:
    """An actor, the unit that it runs, and the stream of its events."""

    handle: Any
    resources: Resources
    node: str = ""
    """The id of its node, and `pid` its process there; empty until they are known."""
    pid: int = 0
    node_asked: Any = None
    counts: bool = True
    """Whether its resources are of those that are held: not on a node that is left out of the totals."""
    leaves: bool = False
    """Whether its node is about to leave, and it was asked to stop."""
    placed: int = 0
    """The number of data additions that it has been sent."""
    was_idle: bool = False
    """Whether it was idle before its running task: it may have died then."""
    since: float = 0.0
    """When it became idle, on the clock of `time.monotonic`."""
    rest: deque[Task] = field(default_factory=deque)
    """The tasks of its unit that come after the running one."""
    stream: Any = None
    running: dict[str, Assignment] = field(default_factory=dict)
    """The running tasks by their keys, until their last events: one, or those of a pack."""
    arrivals: Arrivals = field(default_factory=Arrivals)
    log: str = ""
    due: float | None = None
    """The deadline that the worker has for its task, on the driver's clock; None before the task has started."""

    def begin(self, assignments: list[Assignment]) -> None:
        self.running = {one.task.key: replace(one, restored=None, files=None) for one in assignments}
        self.log, self.due, self.arrivals = "", None, Arrivals()
        work = self.handle.work.options(num_returns="streaming", _generator_backpressure_num_objects=MOST_UNREAD)
        self.stream = work.remote(assignments)

    def next_event(self) -> Event | Piece | None:
        """The next event, or a piece of its contents, which is kept here; None at the end of the task.

        Raises `RayError` if the worker has died, and `OSError` if the disk for temporary files is full.
        """
        try:
            item: Event | Piece = ray.get(next(self.stream))
        except StopIteration:
            self.stream = None
            return None
        if isinstance(item, Piece):
            self.arrivals.add(item)
            return item
        return self.arrivals.completed(_owned(item))


def _owned(event: Event) -> Event:
    """The event with copies of its arrays; the arrays from Ray are views that keep the whole result in its store."""
    own: dict[str, Any] = {}
    for name in (part.name for part in fields(event)):
        value = getattr(event, name)
        if isinstance(value, np.ndarray):
            own[name] = value.copy()
        elif isinstance(value, Fitted):
            own[name] = _owned(value)
        elif name == "others":
            own[name] = tuple(map(_owned, value))
    changed: Any = replace
    owned: Event = changed(event, **own)
    return owned
