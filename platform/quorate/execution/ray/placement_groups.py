"""The placement groups of actors that lead others: learn them, and free those of an actor that has died."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable
from typing import Any

import ray
from ray._raylet import PlacementGroupID
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from quorate.execution.ray.actor import Actor

_ENDING_SECONDS = 5.0
"""Seconds in which the processes that a dead actor has started end (an assumption)."""


class PlacementGroups:
    """What Ray Train has reserved for the actors of a session.

    Ray frees the group of an actor that has died only when its driver ends. Ray Train has an actor that frees it
    before; without a dashboard, this one does not learn that the other has died (seen with Ray 2.60).
    """

    def __init__(self) -> None:
        self._asked: dict[Any, Actor] = {}
        self._died_at: float | None = None
        """When an actor died whose processes may still make a group; None if none has."""

    def ask(self, actor: Actor) -> None:
        """Ask an actor whose workers have joined where they run."""
        self._asked[actor.handle.group_place.remote()] = actor

    def died(self) -> None:
        """An actor that leads others has died, or was killed."""
        self._died_at = time.monotonic()

    def look(self, busy: Iterable[Actor]) -> None:
        """Take the answers; free what no busy actor uses, when the groups of all of them are known."""
        asked = list(self._asked)
        for answer in ray.wait(asked, num_returns=len(asked), timeout=0)[0] if asked else ():
            with contextlib.suppress(RayError):  # it has died; its stream of events says so
                self._asked.pop(answer).group = ray.get(answer)
        groups = {actor.group.placement_group for actor in busy if actor.resources.shared}
        if self._died_at is None or "" in groups:
            return
        _free_others(groups)
        if time.monotonic() - self._died_at > _ENDING_SECONDS:
            self._died_at = None


def _free_others(used: Collection[str]) -> None:
    """Remove the placement groups of this driver except those with the ids `used`."""
    job = ray.get_runtime_context().get_job_id()  # the end of each id
    for name, group in placement_group_table().items():
        if name.endswith(job) and group["state"] != "REMOVED" and name not in used:
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))
