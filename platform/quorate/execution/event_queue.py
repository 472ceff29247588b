"""Pass the events of tasks from their thread to the one that sends them."""

from __future__ import annotations

import queue
import threading

from quorate.execution.events import Checkpointed, Event
from quorate.plan.tasks import FitTask


class EventQueue:
    """The events that have not been sent, in their order; None is the end.

    A state takes the place of an older one of the same task: the driver may read nothing for minutes, and states are
    large.
    """

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event | FitTask | None] = queue.SimpleQueue()
        """A task stands for its newest state."""
        self._states: dict[str, Checkpointed] = {}
        self._changing = threading.Lock()

    def put(self, event: Event | None) -> None:
        if not isinstance(event, Checkpointed) or not isinstance(event.content, bytes):
            self._events.put(event)
            return
        with self._changing:
            if event.task.key not in self._states:
                self._events.put(event.task)
            self._states[event.task.key] = event

    def get(self, timeout: float) -> Event | None:
        """The next event; raises `queue.Empty` if there is none after `timeout` seconds."""
        item = self._events.get(timeout=timeout)
        if not isinstance(item, FitTask):
            return item
        with self._changing:
            return self._states.pop(item.key)

    def empty(self) -> bool:
        return self._events.empty()
