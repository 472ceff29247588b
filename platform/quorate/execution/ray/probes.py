"""Probe the nodes of a Ray cluster: one task on each, once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from quorate.execution.hardware import this_hardware
from quorate.execution.ray.cluster import ClusterError
from quorate.plan.groups import Node
from quorate.training.context import Hardware

_PATIENCE = 120.0
"""Seconds for the tasks of all nodes: a worker starts in 2 s and imports torch in 3 s, but a node may first have to
unpack the user's code (an assumption)."""


@ray.remote(num_cpus=0, max_calls=1)  # type: ignore[untyped-decorator]
def _probe() -> Hardware:
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides the accelerators from a task that asks for none
    return this_hardware()


class Probes:
    """What is known of the nodes of the cluster that have processors, by their ids; `say` shows a note."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._hardware: dict[str, Hardware] = {}
        self._faults: dict[str, str] = {}
        """Why nodes are left out."""

    @property
    def left_out(self) -> frozenset[str]:
        """The ids of the nodes whose probe failed."""
        return frozenset(self._faults)

    def nodes(self) -> list[Node]:
        """The living nodes; those that are new are probed first, all at the same time.

        A node that is lost during its probe is left out, and with a note one whose probe fails. Raises `ClusterError`
        if all fail.
        """
        alive = {node["NodeID"]: node for node in _alive() if {"CPU", "GPU"} & node["Resources"].keys()}
        new = alive.keys() - self._hardware.keys() - self._faults.keys()
        asked = {name: _probe.options(scheduling_strategy=_on(name)).remote() for name in new}
        _, late = ray.wait(list(asked.values()), num_returns=len(asked), timeout=_PATIENCE) if asked else ([], [])
        for name, answer in asked.items():
            if answer in late:
                self._leave_out(alive[name], f"did not answer for {_PATIENCE:.0f} s; restart it")
                continue
            try:
                self._hardware[name] = ray.get(answer)
            except RayError as error:
                if not any(node["NodeID"] == name for node in _alive()):
                    del alive[name]
                    continue
                self._leave_out(
                    alive[name],
                    f"cannot run Quorate: {_last_line(error)}; install the same packages there as on this machine",
                )
        if alive and not alive.keys() & self._hardware.keys():
            raise ClusterError("no node of the cluster can be used: " + "; ".join(self._faults[name] for name in alive))
        return [_node(alive[name], self._hardware[name]) for name in alive if name in self._hardware]

    def _leave_out(self, node: dict[str, Any], fault: str) -> None:
        name = node["NodeID"]
        self._faults[name] = f"the node {node['NodeManagerHostname']} ({name}) {fault}"
        self._say(f"{self._faults[name]}. The job goes on without it")


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _last_line(error: RayError) -> str:
    """The last line of the traceback of a probe, or of Ray's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _on(name: str) -> Any:
    return NodeAffinitySchedulingStrategy(node_id=name, soft=False)


def _node(about: dict[str, Any], hardware: Hardware) -> Node:
    there = about["Resources"]
    cpus, gpus, memory = there.get("CPU", 0.0), there.get("GPU", 0.0), int(there.get("memory", 0))
    counted = replace(hardware, cores=max(int(cpus), 1), gpus=int(gpus), room=memory)
    if not gpus:
        counted = replace(counted, accelerator=None)
    labels = tuple(sorted(about["Labels"].items()))
    return Node(about["NodeManagerHostname"], counted, labels, cpus, gpus, memory)
