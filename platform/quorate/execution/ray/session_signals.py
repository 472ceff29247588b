"""What a session asks of the tasks that run: to stop, to write a checkpoint, to end by a new deadline."""

from __future__ import annotations

import math
import time

from quorate.execution.budget import Agenda
from quorate.execution.ray.actor_pool import ActorPool

_DUE_SECONDS = 0.5
"""Seconds that the deadline of a running task may move before the worker gets the new one."""


class SessionSignals:
    """Requests that a signal handler may make at any time; the loop of the session passes them on to the workers."""

    def __init__(self, agenda: Agenda | None) -> None:
        self.stopping = False
        self._agenda = agenda
        self._wants_checkpoint = self._told_to_stop = False
        self._give_up_at = math.inf
        """When tasks that were asked to stop are given up, on the clock of `time.monotonic`."""

    @property
    def is_overdue(self) -> bool:
        """Whether the tasks that were asked to stop have not ended in time."""
        return time.monotonic() >= self._give_up_at

    def stop(self, within: float | None) -> None:
        if within is not None:
            self._give_up_at = time.monotonic() + within
        self.stopping = True

    def checkpoint(self) -> None:
        self._wants_checkpoint = True

    def pass_on(self, pool: ActorPool) -> None:
        """Tell the busy workers what is new."""
        if self.stopping and not self._told_to_stop:
            self._told_to_stop = True
            pool.want({})
            for actor in pool.busy:
                actor.handle.stop.remote()
        if self._wants_checkpoint:
            self._wants_checkpoint = False
            for actor in pool.busy:
                actor.handle.checkpoint.remote()
        if self._agenda is not None:
            _tell_when_due(pool, self._agenda.seconds_left())


def _tell_when_due(pool: ActorPool, left: float) -> None:
    """Update the workers' deadlines: their processes took time to start, and the reserve for the end may change."""
    due = time.monotonic() + left
    for actor in pool.busy:
        if actor.running and actor.due is not None and abs(due - actor.due) > _DUE_SECONDS:
            actor.due = due
            actor.handle.end_in.remote(left)
