"""Groups of nodes that are alike, and the labels that bind a unit to some of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from quorate.plan.tasks import Labels, Resources
from quorate.spec import ACCELERATOR_TYPE
from quorate.training.context import Hardware

NODE_ID = "ray.io/node-id"
"""The label with which Ray names each node."""
_NODE_GROUP = "ray.io/node-group"
"""The label of a node type of an autoscaling cluster, or of a worker group of KubeRay."""
_ALIKE = 0.05
"""Largest part by which the memory of nodes of a group differs: equal machines report slightly different sizes."""


_ROOM_ALIKE = 0.5
"""Smallest room of a node relative to the largest one of its group: what Ray counts depends on what ran when the node
started. An assumption, not a measurement."""


@dataclass(frozen=True)
class Node:
    """One node of a cluster."""

    name: str
    hardware: Hardware
    labels: Labels = ()
    cpus: float = 1
    gpus: float = 0
    memory: int | None = None
    """Bytes that units can ask for; None if their memory is not counted."""

    def holds(self, resources: Resources) -> bool:
        """Whether a unit with these resources, or one of its workers, fits on the node when nothing else runs there."""
        memory = self.memory is None or resources.memory <= self.memory
        return resources.cpus <= self.cpus and resources.gpus <= self.gpus and memory and self.has(resources.labels)

    def has(self, labels: Labels) -> bool:
        """Whether the node has these labels; a value `in(a,b)` allows several."""
        return all(self.value(name) in allowed(value) for name, value in labels)

    def value(self, label: str) -> str | None:
        return dict(self.labels).get(label)


@dataclass(frozen=True)
class NodeGroup:
    """Nodes with the same hardware; the memory of `hardware` is that of the smallest."""

    hardware: Hardware
    nodes: tuple[Node, ...]

    def __str__(self) -> str:
        return f"{len(self.nodes)} node{'s' * (len(self.nodes) != 1)}: {self.hardware}"


class Places(Protocol):
    """Where the units of a plan can run."""

    def groups_for(self, resources: Resources, *, present: bool = False) -> Sequence[NodeGroup]:
        """The groups of the nodes that can each hold a unit with these resources, the most capable hardware first.

        A cluster that grows is asked for nodes if there are none, unless only the `present` nodes count. Empty if no
        node can hold such a unit.
        """


def group_nodes(nodes: Iterable[Node]) -> tuple[NodeGroup, ...]:
    """Put nodes that are alike into groups, the most capable hardware first.

    The order depends on the hardware alone, so that a job that starts again chooses the same group while nodes come
    and go.
    """
    groups: list[list[Node]] = []
    for node in sorted(nodes, key=lambda node: (_rank(node.hardware), node.name)):
        if groups and _are_alike(groups[-1][0].hardware, node.hardware):
            groups[-1].append(node)
        else:
            groups.append([node])
    return tuple(NodeGroup(_smallest([node.hardware for node in group]), tuple(group)) for group in groups)


def _smallest(each: Sequence[Hardware]) -> Hardware:
    return replace(each[-1], memory=min(one.memory for one in each), room=min(one.room for one in each))


def numbers_of(groups: Sequence[NodeGroup], hardware: Iterable[Hardware]) -> list[int]:
    """The positions of these kinds of hardware among all groups, counted from 1."""
    each = list(hardware)
    return [n for n, group in enumerate(groups, start=1) if any(_are_alike(group.hardware, one) for one in each)]


def allowed(value: str) -> list[str]:
    """The values that a wanted label allows: itself, or those of `in(a,b)`, as in Ray."""
    if value.startswith("in(") and value.endswith(")"):
        return [one.strip() for one in value[3:-1].split(",")]
    return [value]


def binding(chosen: Sequence[Node], others: Sequence[Node]) -> Labels:
    """The label that all chosen nodes have and no other node has: the accelerator type, the node type, another label,
    or their ids if no label distinguishes them."""
    names = {name for node in chosen for name, _ in node.labels}
    known = [ACCELERATOR_TYPE, _NODE_GROUP]
    for name in [*known, *sorted(names - {*known, NODE_ID}), NODE_ID]:
        values = {node.value(name) for node in chosen}
        if None in values or not values.isdisjoint(node.value(name) for node in others):
            continue
        listed = sorted(filter(None, values))
        if len(listed) == 1 or name == NODE_ID or len(listed) < len(chosen):
            return ((name, listed[0] if len(listed) == 1 else f"in({','.join(listed)})"),)
    return ()


def with_labels(resources: Resources, more: Labels) -> Resources:
    """The resources with further labels."""
    return replace(resources, labels=tuple(sorted(dict([*resources.labels, *more]).items())))


def best_first(groups: Iterable[NodeGroup], *, accelerated: bool) -> list[NodeGroup]:
    """The most capable hardware first; for a unit that uses no accelerator, nodes without one are preferred."""
    return sorted(groups, key=lambda group: _rank(group.hardware, accelerated=accelerated))


def _rank(hardware: Hardware, *, accelerated: bool = True) -> tuple[object, ...]:
    """Ascending from the most capable hardware; equal in all but the memory for nodes that can be alike."""
    one = hardware.accelerator
    accelerator = (-one.memory, not one.fast_bfloat16, one.name) if one is not None else (0, True, "")
    processor = (not hardware.fast_bfloat16, (hardware.gpus == 0) == accelerated, -hardware.cores)
    kind = (accelerator, *processor) if accelerated else (*processor, accelerator)
    return (*kind, -hardware.gpus, hardware.cpu, -_memory(hardware), -hardware.room)


def _memory(hardware: Hardware) -> int:
    return min(hardware.memory, hardware.memory_limit or hardware.memory)


def _are_alike(one: Hardware, other: Hardware) -> bool:
    same = replace(one, memory=other.memory, memory_limit=other.memory_limit, room=other.room) == other
    near = abs(_memory(one) - _memory(other)) <= _ALIKE * _memory(one)
    return same and near and other.room >= _ROOM_ALIKE * one.room
