"""Find workers whose process is stopped: they do not answer, and the system of their node says why."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from quorate.execution.ray.actor import Actor

_BEAT_SECONDS = 5.0
"""Seconds between the answer to a call and the next call (an assumption); a call costs the driver about .1 ms."""


@dataclass
class _WorkerCall:
    """The call that a worker has not answered, or the time of its newest answer if there is none (`sent`)."""

    since: float
    sent: Any = None
    look: Any = None
    """The result of a look at its process, if there is one."""


class Heartbeats:
    """Calls each busy worker every few seconds.

    A worker that does not answer for `limit` seconds is frozen if its process is stopped, for example by SIGSTOP. A
    small task on its node looks at the process. Native code that keeps Python busy does not count.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._calls: dict[Actor, _WorkerCall] = {}

    def frozen(self, actors: Iterable[Actor], now: float) -> list[Actor]:
        """Call the workers, take their answers, and return those that are frozen."""
        self._calls = {actor: self._calls.get(actor, _WorkerCall(-_BEAT_SECONDS)) for actor in actors}
        for actor, call in self._calls.items():
            if call.sent is None and now - call.since >= _BEAT_SECONDS:
                call.sent, call.since = actor.handle.whereabouts.remote(), now
        for actor, _ in _answered({actor: call.sent for actor, call in self._calls.items()}):
            self._calls[actor] = _WorkerCall(now)  # or it has died: the stream of its events tells that
        for actor, call in self._calls.items():
            late = call.sent is not None and now - call.since > self._limit
            if late and call.look is None and actor.node:
                call.look = _look(actor)
        return list(self._stopped(now))

    def _stopped(self, now: float) -> Iterator[Actor]:
        for actor, look in _answered({actor: call.look for actor, call in self._calls.items()}):
            call = self._calls[actor]
            call.look, call.since = None, now  # if it is not stopped, it has the same time again
            with contextlib.suppress(RayError):  # its node has left
                if ray.get(look):
                    yield actor


@ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
def _is_stopped(pid: int) -> bool:
    """Whether a process of this node is stopped (state T of proc(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended, or this is not Linux
        return False
    return fields[0] == "T"


def _look(actor: Actor) -> Any:
    """Start a look at the process of a worker."""
    there = NodeAffinitySchedulingStrategy(actor.node, soft=False)
    task: Any = _is_stopped
    return task.options(scheduling_strategy=there).remote(actor.pid)


def _answered(calls: dict[Actor, Any]) -> Iterator[tuple[Actor, Any]]:
    """The calls that have a result; those that are None are left out."""
    owners = {call: actor for actor, call in calls.items() if call is not None}
    if owners:
        for call in ray.wait(list(owners), num_returns=len(owners), timeout=0)[0]:
            yield owners[call], call
