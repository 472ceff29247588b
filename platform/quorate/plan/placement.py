"""Choose the nodes of a member: resolve its numerics for their hardware, and estimate its memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quorate.data.signature import Signature
from quorate.errors import UserError
from quorate.members.backbone import check_backbones
from quorate.plan.groups import NodeGroup, Places, best_first, binding, with_labels
from quorate.plan.tasks import FeatureTask, FitTask, Plan, Resources
from quorate.registry import MEMBERS
from quorate.spec import JobSpec, MemberParams
from quorate.training.context import Hardware, MemoryUse, Numerics

_MOST_SHARING = 8
"""Maximum number of fit tasks on one accelerator with `gpus: auto`. An assumption, not a measurement."""
_MARGIN = 1.1
"""Memory that is kept for a task, relative to what it is known to use. An assumption, not a measurement."""
_STEP = 256 << 20
"""Reserved memory is a multiple of this, so that workers can be used again for other tasks (an assumption)."""


_CONTEXT = 500 << 20
"""Bytes of an accelerator that a process takes for its libraries. An assumption, not a measurement."""


START_SECONDS = 20.0
"""Seconds until several workers train together. Measured: a TorchTrainer of Ray 2.60 that does nothing takes 18 to 20 s
on two cores, of which its processes import torch and Ray Train for the most part."""


class NoPlaceError(UserError):
    """No node has what a member asks for."""

    def __init__(self, member: str, resources: Resources) -> None:
        super().__init__(f"{member} requires {resources}, which no node has")
        self.member, self.resources = member, resources


@dataclass(frozen=True)
class Placement:
    """Where the fit tasks of a member run, and what follows from that; `numerics` has one entry per fold."""

    params: MemberParams
    """The parameters with the resolved number of accelerators."""
    numerics: tuple[Numerics, ...]
    resources: Resources
    estimate: MemoryUse
    share: int | None
    accelerator_memory: int | None
    hardware: tuple[Hardware, ...]
    """The groups of nodes that they can run on."""
    notes: tuple[str, ...]


def place(
    name: str, params: MemberParams, places: Places, *, signature: Signature, rows: Sequence[int], n_classes: int
) -> Placement:
    """Choose the nodes of a member; raises `NoPlaceError`, and `ValueError` if it cannot learn from such rows.

    If its numerics differ between nodes, it is bound to those with the most capable hardware; otherwise it can run on
    every node that has what it asks for.
    """
    kind: Any = MEMBERS.get(params.kind)
    given = params
    params, wanted, groups = _nodes(name, params, places, accelerated=kind.accelerated)
    each = _numerics(params, groups, signature=signature, rows=rows)
    chosen = each[0][1]
    same = [group for group, numerics in each if numerics == chosen]
    others = [group for group in groups if group not in same]
    resources, notes = wanted, []
    if others:
        nodes = [node for group in same for node in group.nodes]
        resources = with_labels(wanted, binding(nodes, [node for group in others for node in group.nodes]))
        if resources.shared and not places.groups_for(resources):  # all nodes together had room for the workers
            raise NoPlaceError(name, resources)
        notes.append(
            f"{name}: its numerics depend on the node; it runs on {same[0]}, not on "
            f"{' or on '.join(str(group.hardware) for group in others)}; `needs` selects other nodes"
        )
    hardware = tuple(group.hardware for group in same)
    seen = check_backbones(params.frozen_backbones, signature)
    estimate = kind.memory_use(params, signature=seen, rows=max(rows), n_classes=n_classes, numerics=chosen[0])
    share = accelerator_memory = None
    if given.gpus == "auto" and resources.gpus and not resources.shared:
        accelerator_memory = min(group.hardware.memory_of("cuda") for group in same)
        resources = replace(resources, gpus=_part(estimate.accelerator, accelerator_memory))
        params = params.model_copy(update={"gpus": resources.gpus})
    if given.memory == "auto":
        share = share_of(params.cpus, same)
        room = max(group.hardware.room for group in same)
        if estimate.node > room:
            notes.append(
                f"{name}: its estimated memory of {_gib(estimate.node)} is more than the {_gib(room)} of a node; each "
                "of its tasks runs alone on a node"
            )
    if resources.shared:
        notes.append(f"{name}: each start of its workers takes about {START_SECONDS:.0f} s, also after a lost worker")
    return Placement(params, chosen, resources, estimate, share, accelerator_memory, hardware, tuple(notes))


def _nodes(
    name: str, params: MemberParams, places: Places, *, accelerated: bool
) -> tuple[MemberParams, Resources, Sequence[NodeGroup]]:
    """The parameters with a number of accelerators, what they ask for, and the groups that have it."""
    memory = 0 if params.memory == "auto" else params.memory
    numbers = [params.accelerators]
    if params.gpus == "auto" and accelerated:
        numbers = [1.0, 0.0]
    for number in numbers:
        wanted = Resources(params.cpus, number, memory, params.node_labels, workers=params.worker_range)
        groups = places.groups_for(wanted, present=number != numbers[-1])
        if groups:
            ordered = best_first(groups, accelerated=number > 0)
            return params.model_copy(update={"gpus": number, "memory": memory}), wanted, ordered
    raise NoPlaceError(name, wanted)


def _numerics(
    params: MemberParams, groups: Sequence[NodeGroup], *, signature: Signature, rows: Sequence[int]
) -> list[tuple[NodeGroup, tuple[Numerics, ...]]]:
    """The numerics for each group that the member can use; raises the error of the first if it can use none."""
    kind = MEMBERS.get(params.kind)
    found, errors = [], []
    for group in groups:
        try:
            numerics = [kind.numerics(params, signature=signature, rows=n, hardware=group.hardware) for n in rows]
        except ValueError as error:  # such as a network that is too large for the memory of this group
            errors.append(error)
        else:
            found.append((group, tuple(numerics)))
    if not found:
        raise errors[0]
    return found


def without_place(spec: JobSpec, places: Places) -> dict[str, Resources]:
    """What the members ask for that no node has, by the name of the member."""
    lacking = {}
    for name, params in spec.members.items():
        kind: Any = MEMBERS.get(params.kind)
        try:
            _nodes(name, params, places, accelerated=kind.accelerated)
        except NoPlaceError as error:
            lacking[name] = error.resources
        for backbone in params.frozen_backbones:
            if not places.groups_for(features := Resources(1, backbone.gpus)):
                lacking[name] = features
    return lacking


def share_of(cpus: float, groups: Sequence[NodeGroup]) -> int:
    """The bytes of memory that come with this number of cores on each node of these groups."""
    return min(int(min(1.0, cpus / one.hardware.cores) * one.hardware.room) for one in groups)


def with_memory(
    tasks: tuple[FitTask, ...], features: tuple[FeatureTask, ...]
) -> tuple[tuple[FitTask, ...], tuple[FeatureTask, ...]]:
    """The tasks with the memory that each reserves on its node.

    If every task needs at most the memory that comes with its cores, none reserves any: then the cores alone keep each
    node within its memory. Otherwise all reserve what they are estimated to need.
    """
    every: tuple[FitTask | FeatureTask, ...] = (*tasks, *features)
    automatic = [(task.expected, task.share) for task in every if task.share is not None]
    counted = any(known is not None and known.node > share for known, share in automatic)
    return tuple(_reserving(task, counted=counted) for task in tasks), tuple(
        replace(task, resources=reservation(task, task.expected, counted=counted))
        if task.expected is not None
        else task
        for task in features
    )


def with_measured(plan: Plan, used: Mapping[str, MemoryUse]) -> Plan:
    """The plan with the memory that finished tasks used, by the name of their member; it replaces the estimates."""

    def of_member(task: FitTask) -> FitTask:
        others = tuple(replace(one, measured=used[task.member]) for one in task.others)
        return replace(task, measured=used[task.member], others=others)

    if not used:
        return plan
    tasks = tuple(of_member(task) if task.member in used else task for task in plan.tasks)
    tasks, features = with_memory(tasks, plan.features)
    return replace(plan, tasks=tasks, features=features)


def _reserving(task: FitTask, *, counted: bool) -> FitTask:
    assert task.expected is not None
    resources = reservation(task, task.expected, counted=counted)
    return replace(task, resources=resources, others=tuple(replace(one, resources=resources) for one in task.others))


def reservation(task: FitTask | FeatureTask, known: MemoryUse, *, counted: bool) -> Resources:
    """What a task reserves that is known to use this much memory; without `counted` no memory of the node.

    What the job file sets is not changed.
    """
    resources = task.resources
    if task.share is not None:
        resources = replace(resources, memory=math.ceil(_MARGIN * known.node / _STEP) * _STEP if counted else 0)
    if task.accelerator_memory is not None:
        resources = replace(resources, gpus=_part(known.accelerator, task.accelerator_memory))
    return resources


def _part(needed: int, memory: int) -> float:
    """The part of an accelerator for a task that needs this much of its memory: 1, or 1 / (number of tasks)."""
    return 1 / max(1, min(_MOST_SHARING, int(memory / (_MARGIN * needed + _CONTEXT))))


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
