"""Probe the nodes of a Ray cluster: one task on each, once."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from quorate.execution.cluster import ClusterError
from quorate.execution.hardware import this_hardware
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
    """What is known of the nodes of the cluster, by their ids."""

    def __init__(self) -> None:
        self._hardware: dict[str, Hardware] = {}

    def nodes(self) -> list[Node]:
        """The living nodes; those that are new are probed first, all at the same time.

        A node that is lost during its probe is left out. Raises `ClusterError` if a node does not answer.
        """
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        asked = {name: _probe.options(scheduling_strategy=_on(name)).remote() for name in alive.keys() - self._hardware}
        _, late = ray.wait(list(asked.values()), num_returns=len(asked), timeout=_PATIENCE) if asked else ([], [])
        for name, answer in asked.items():
            if answer in late:
                host = alive[name]["NodeManagerHostname"]
                raise ClusterError(f"the node {host} ({name}) did not answer for {_PATIENCE:.0f} s; restart it")
            try:
                self._hardware[name] = ray.get(answer)
            except RayError:
                if any(node["NodeID"] == name and node["Alive"] for node in ray.nodes()):
                    raise
                del alive[name]
        return [_node(alive[name], self._hardware[name]) for name in alive]


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
