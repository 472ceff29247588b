"""Actors that wait for a node; the autoscaler of the cluster starts nodes for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from quorate.plan.tasks import Resources

_MOST = 100
"""Maximum number of waiting actors with the same resources, for a short list in the autoscaler; as nodes join, others
follow. An assumption."""


class PendingActors:
    """Workers that were created before a node can hold them; `create` makes one.

    They are the requests for nodes. `ray.autoscaler.sdk.request_resources` is not used: a cluster has one such request,
    so that jobs overwrite each other's; Ray drops the whole of it if one part exceeds the limits of the cluster; and it
    stays when a driver is killed. Pending actors have none of this, and end with their driver.
    """

    def __init__(self, create: Callable[[Resources], Any]) -> None:
        self._create = create
        self._waiting: dict[Resources, dict[Any, Any]] = {}
        """The actors by the references that become ready when they have started."""

    def want(self, wanted: Mapping[Resources, int]) -> None:
        """Have this number of actors waiting for each of these resources, and no others."""
        for resources in [*self._waiting, *wanted]:
            actors = self._waiting.setdefault(resources, {})
            count = min(wanted.get(resources, 0), _MOST)
            while len(actors) > count:
                _end(actors.popitem()[1])
            while len(actors) < count:
                handle = self._create(resources)
                actors[handle.__ray_ready__.remote()] = handle
        self._waiting = {resources: actors for resources, actors in self._waiting.items() if actors}

    def started(self) -> Iterator[tuple[Resources, Any]]:
        """Remove the actors that have started on a node, and yield them; also those that died: their task fails."""
        references = {one: resources for resources, actors in self._waiting.items() for one in actors}
        if not references:
            return
        for one in ray.wait(list(references), num_returns=len(references), timeout=0)[0]:
            yield references[one], self._waiting[references[one]].pop(one)

    def want_none(self) -> None:
        self.want({})


def _end(handle: Any) -> None:
    with contextlib.suppress(RayError):
        ray.kill(handle, no_restart=True)
