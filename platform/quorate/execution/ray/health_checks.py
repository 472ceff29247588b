"""Find nodes that do not answer, before Ray does: with its defaults it takes about a minute for a cut network."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

SILENT_SECONDS = 20.0
"""Seconds without an answer after which a node counts as lost, so that its tasks start elsewhere within 30 s. Ray's
default is five checks of 10 s (RAY_health_check_failure_threshold, RAY_health_check_timeout_ms)."""
WARNING_SECONDS = 10.0
"""Seconds without an answer after which the user is told: a lost link is reported within 15 s. A busy node can be late
as well (an assumption), so nothing else happens yet."""
_EVERY_SECONDS = 1.0


@ray.remote(num_cpus=0, max_restarts=0)
class HealthCheck:
    """A small process on a node, because a worker may hold Python's lock in a long call."""

    def answer(self) -> None:
        """Answer."""


@dataclass
class _WatchedNode:
    """A node that is watched."""

    handle: Any
    asked: Any
    """The reference of the call that has not been answered."""
    since: float
    seen: bool = False
    """Whether it has answered before: a process takes a while to start."""
    told: bool = False
    """Whether its silence was reported."""


class HealthChecks:
    """Asks nodes for a sign of life once a second, except the node of the driver."""

    def __init__(self) -> None:
        self._watched: dict[str, _WatchedNode] = {}
        self._here = ray.get_runtime_context().get_node_id()
        self._look_at = 0.0

    @property
    def silent(self) -> frozenset[str]:
        """The ids of the nodes that have not answered for `SILENT_SECONDS`."""
        late = time.monotonic() - SILENT_SECONDS
        return frozenset(name for name, one in self._watched.items() if one.seen and one.since < late)

    def newly_late(self) -> dict[str, float]:
        """The nodes that have not answered for `WARNING_SECONDS`, with the seconds; each once until it answers."""
        now = time.monotonic()
        late = {
            name: now - one.since
            for name, one in self._watched.items()
            if one.seen and not one.told and now - one.since > WARNING_SECONDS
        }
        for name in late:
            self._watched[name].told = True
        return late

    def look(self, nodes: Iterable[str]) -> None:
        """Take the answers, and ask these nodes again.

        The processes on other nodes end, because an autoscaler keeps a node that has one; only silent nodes are watched
        until they answer or are dead.
        """
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _EVERY_SECONDS
        waiting = {one.asked: name for name, one in self._watched.items()}
        for answer in ray.wait(list(waiting), num_returns=len(waiting), timeout=0)[0] if waiting else ():
            self._answered(waiting[answer], answer)
        wanted = set(nodes)
        for name in self._watched.keys() - wanted - self.silent:
            ray.kill(self._watched.pop(name).handle)
        for name in wanted - self._watched.keys() - {self._here}:
            actor_class: Any = HealthCheck
            handle = actor_class.options(scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)).remote()
            self._watched[name] = _WatchedNode(handle, handle.answer.remote(), now)

    def close(self) -> None:
        for one in self._watched.values():
            ray.kill(one.handle)
        self._watched.clear()

    def _answered(self, name: str, answer: Any) -> None:
        try:
            ray.get(answer)
        except RayError:  # the process or its node is dead, and Ray knows it
            del self._watched[name]
            return
        one = self._watched[name]
        one.asked, one.since, one.seen, one.told = one.handle.answer.remote(), time.monotonic(), True, False
