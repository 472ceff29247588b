"""Decide how long units wait for a node that the cluster does not have yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from quorate.errors import UserError
from quorate.plan.groups import NODE_ID
from quorate.plan.tasks import Resources
from quorate.quantities import format_seconds

GRACE_SECONDS = 20.0
"""Seconds until an answer of the cluster counts: a new node can join, and the autoscaler can launch one. An assumption;
the autoscaler decides every 5 s (AUTOSCALER_UPDATE_INTERVAL_S)."""


class NoNodeError(UserError):
    """No node can hold a unit, and none joined in time."""


class NodeTypes(Protocol):
    """The nodes that a cluster can start."""

    @property
    def can_grow(self) -> bool:
        """Whether the cluster starts nodes for units that wait."""

    def refuses(self, resources: Resources) -> bool:
        """Whether no node type can hold a waiting unit with these resources."""


@dataclass(frozen=True)
class NodeWait:
    """How long units have waited for a node; `refusal` says why they wait no longer."""

    resources: Resources
    seconds: float
    limit: float
    refusal: str = ""

    def __str__(self) -> str:
        return f"waiting for a node with {self.resources} ({_of(self.seconds, self.limit)})"


class NodeWaits:
    """The resources that no node has, and since when units wait for them; `limit` in seconds.

    In a cluster that does not grow, units wait for `GRACE_SECONDS`, and as long as others run.
    """

    def __init__(self, types: NodeTypes, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._types, self._limit, self._clock = types, limit, clock
        self._since: dict[Resources, float] = {}

    def look(self, lacking: Iterable[Resources], *, idle: bool) -> list[NodeWait]:
        """The waits for all resources that units need and no node has; `idle` if nothing runs meanwhile."""
        now = self._clock()
        self._since = {resources: self._since.get(resources, now) for resources in lacking}
        return [self._wait(resources, now - since, idle) for resources, since in self._since.items()]

    def _wait(self, resources: Resources, seconds: float, idle: bool) -> NodeWait:
        grows = self._types.can_grow
        bound = any(name == NODE_ID for name, _ in resources.labels)  # a new node has another id
        limit, refusal = self._limit if grows and not bound else GRACE_SECONDS, ""
        if bound and seconds >= limit:
            refusal = (
                f"the nodes that were chosen for this task by their ids have left the cluster ({resources}); start the "
                "job again to choose others, or give the nodes of each kind a label of their own"
            )
        elif grows and seconds >= limit:
            refusal = (
                f"no node with {resources} joined the cluster within {format_seconds(limit)}; look at `ray status`, or "
                "raise execution.wait_for_nodes"
            )
        elif grows and seconds >= GRACE_SECONDS and self._types.refuses(resources):
            refusal = f"no node type of the cluster has {resources}; lower cpus, gpus or memory, or add a node type"
        elif not grows and seconds >= limit and idle:
            refusal = f"no node of the cluster has {resources}; lower cpus, gpus or memory, or add a node"
        return NodeWait(resources, seconds, limit, refusal)


def _of(seconds: float, limit: float) -> str:
    if limit < 120:
        return f"{seconds:.0f} of {limit:.0f} s"
    return f"{seconds / 60:.0f} of {limit / 60:.0f} min"
