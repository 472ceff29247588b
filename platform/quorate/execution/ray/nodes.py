"""The nodes of a cluster, and what fits on them."""

from __future__ import annotations

import socket
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import ray

from quorate.execution.labels import is_match
from quorate.execution.queue import amounts
from quorate.plan.tasks import Labels, Resources

_REFRESH_SECONDS = 1.0
_CONNECT_SECONDS = 1.0
"""An assumption: hosts of a cluster are near each other."""


class Nodes:
    """The resources of the living nodes of the cluster, read at most once a second."""

    def __init__(self) -> None:
        self._all: list[dict[str, Any]] = []
        self._nodes: list[dict[str, Any]] = []
        self._totals: dict[Labels, Counter[str]] = {}
        self._slots: dict[Resources, int] = {}
        self._left_out: frozenset[str] = frozenset()
        self._read_at = -_REFRESH_SECONDS
        self._addresses: dict[str, str] = {}

    def address(self, node: str) -> str:
        """The address of a node that has been alive; its id if it is not known."""
        return self._addresses.get(node, node)

    def lost_host(self, node: str) -> str:
        """The address of a node that Ray has declared dead, or to which no connection is possible; else empty.

        Ray declares a node dead some time after the connections to its workers have ended.
        """
        self.look_again()
        self._read()
        found = next((one for one in self._all if one["NodeID"] == node), None)
        return "" if not node or (found is not None and _accepts(found)) else self.address(node)

    def slots(self, resources: Resources) -> int:
        """The number of units with these resources that fit on the nodes."""
        nodes = self._read()
        if resources not in self._slots:
            self._slots[resources] = sum(_fits(node, resources) for node in nodes) // resources.workers[0]
        return self._slots[resources]

    def is_known(self, resources: Resources) -> bool:
        """Whether the nodes can hold such a unit, or could if they answered."""
        return bool(self.slots(resources)) or sum(_fits(node, resources) for node in self._all) >= resources.workers[0]

    def most_memory(self, resources: Resources) -> int:
        """The memory of the largest node that has the other resources of a unit, in bytes."""
        other = replace(resources, memory=0)
        return max((int(node["Resources"].get("memory", 0)) for node in self._read() if _fits(node, other)), default=0)

    def whole(self, resources: Resources) -> Resources:
        """All cores and all memory of the largest node that has the other resources: nothing else runs there."""
        other = replace(resources, memory=0)
        nodes = [node["Resources"] for node in self._read() if _fits(node, other)]
        if not nodes:
            return resources
        largest = max(nodes, key=lambda there: (there.get("memory", 0.0), there["CPU"]))
        return replace(
            resources, cpus=largest["CPU"], memory=int(largest.get("memory", 0)), threads=max(1, int(resources.cpus))
        )

    def total(self, wanted: Resources) -> Counter[str]:
        """The resources of all nodes together, and under the names of `needs` those of the nodes with the wanted
        labels."""
        nodes = self._read()
        if wanted.labels not in self._totals:
            total: Counter[str] = Counter()
            for node in nodes:
                total.update(node["Resources"])
                if wanted.labels and is_match(node["Labels"], wanted.labels):
                    total.update({f"{name} {wanted.labels}": amount for name, amount in node["Resources"].items()})
            self._totals[wanted.labels] = total
        return self._totals[wanted.labels]

    def leave_out(self, names: frozenset[str]) -> None:
        """Do not count these nodes, which do not answer, until others are named."""
        if names != self._left_out:
            self._left_out = names
            self.look_again()

    def look_again(self) -> None:
        """Read the nodes again next time, because one may be gone."""
        self._read_at = -_REFRESH_SECONDS

    def _read(self) -> list[dict[str, Any]]:
        if time.monotonic() - self._read_at > _REFRESH_SECONDS:
            self._all = [node for node in ray.nodes() if node["Alive"]]
            self._addresses |= {node["NodeID"]: node["NodeManagerAddress"] for node in self._all}
            self._nodes = [node for node in self._all if node["NodeID"] not in self._left_out]
            self._totals, self._slots = {}, {}
            self._read_at = time.monotonic()
        return self._nodes


def _accepts(node: dict[str, Any]) -> bool:
    """Whether Ray's process on a node accepts a connection."""
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _fits(node: dict[str, Any], resources: Resources) -> int:
    if not is_match(node["Labels"], resources.labels):
        return 0
    there = node["Resources"]
    return int(min((there.get(name, 0.0) // amount for name, amount in amounts(resources).items()), default=0))
