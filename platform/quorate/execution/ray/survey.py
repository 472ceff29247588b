"""Look at a cluster: its nodes, the addresses of its services, and the answer of each node to a question."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from quorate.execution.ray.draining import Draining

_PATIENCE = 60.0
"""Seconds for the answers of all nodes: a worker starts in 2 s, but a node may first have to unpack the package (an
assumption)."""
_LOOKS_AT_CLOCK = 5
"""The look with the shortest way there and back counts."""
_KNOCK_SECONDS = 20.0
"""Time limit for the connection without a token; it takes .5 s on an idle machine."""

T = TypeVar("T")

# Another process, because Ray reads the mode when it is imported.
_KNOCK = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).internal_kv_keys(b"webui", namespace=b"dashboard", timeout=5)
except AuthenticationError:
    print("refused")
else:
    print("open")
"""


@dataclass(frozen=True)
class ClusterNode:
    """A node that is alive."""

    id: str
    name: str
    address: str
    is_head: bool
    is_draining: bool
    """It leaves soon: a preemption, or the autoscaler takes it away."""
    resources: Mapping[str, float]

    def __str__(self) -> str:
        return self.address + (" (head)" if self.is_head else "")


@dataclass(frozen=True)
class NodeAnswer(Generic[T]):
    """What a node answers, or why it does not."""

    node: ClusterNode
    answer: T | None
    fault: str
    clock: float
    """Seconds by which the clock of the node is ahead of that of this machine."""
    uncertainty: float
    """Half the time of the way there and back, in seconds: the error of `clock` is at most this."""


@dataclass(frozen=True)
class ClusterServices:
    """The addresses of the services of the head."""

    gcs: str
    """Host and port that nodes join."""
    dashboard: str
    """Host and port; empty if it was not started."""
    requires_token: bool | None
    """None if this could not be found out."""


@ray.remote(num_cpus=0)
class _Visitor:
    """Answers questions on a node."""

    def ask(self, question: Callable[[], Any]) -> Any:
        return question()


def services() -> ClusterServices:
    """The services of the cluster that this process is connected to."""
    from ray._private.services import get_webui_url_from_internal_kv
    from ray._private.worker import global_worker

    gcs = global_worker.gcs_client.address
    return ClusterServices(gcs, get_webui_url_from_internal_kv() or "", _requires_token(gcs))


def living_nodes() -> list[ClusterNode]:
    """The nodes that are alive, the head first."""
    draining = Draining().nodes()
    nodes = [
        ClusterNode(
            about["NodeID"],
            about["NodeManagerHostname"],
            about["NodeManagerAddress"],
            "node:__internal_head__" in about["Resources"],
            about["NodeID"] in draining,
            about["Resources"],
        )
        for about in ray.nodes()
        if about["Alive"]
    ]
    return sorted(nodes, key=lambda node: (not node.is_head, node.address))


def ask_nodes(nodes: Sequence[ClusterNode], question: Callable[[], T]) -> list[NodeAnswer[T]]:
    """The answers of nodes to a question, which is a function that each of them can import, and their clocks."""
    actor_class: Any = _Visitor
    visitors = [actor_class.options(scheduling_strategy=_on(node)).remote() for node in nodes]
    asked = [visitor.ask.remote(question) for visitor in visitors]
    ready, _ = ray.wait(asked, num_returns=len(asked), timeout=_PATIENCE) if asked else ([], [])
    answers = [
        _answer(node, visitor, answer) if answer in ready else _silent(node)
        for node, visitor, answer in zip(nodes, visitors, asked, strict=True)
    ]
    for visitor in visitors:
        ray.kill(visitor)
    return answers


def _answer(node: ClusterNode, visitor: Any, answer: Any) -> NodeAnswer[Any]:
    try:
        found = ray.get(answer)
        looks = [_look_at_clock(visitor) for _ in range(_LOOKS_AT_CLOCK)]
    except RayError as error:
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        return NodeAnswer(node, None, last, 0.0, 0.0)
    uncertainty, ahead = min(looks)
    return NodeAnswer(node, found, "", ahead, uncertainty)


def _silent(node: ClusterNode) -> NodeAnswer[Any]:
    return NodeAnswer(node, None, f"no answer within {_PATIENCE:.0f} s", 0.0, 0.0)


def _look_at_clock(visitor: Any) -> tuple[float, float]:
    """Half the way there and back, and the seconds by which the clock there is ahead."""
    since = time.time()
    there = ray.get(visitor.ask.remote(time.time), timeout=_PATIENCE)
    until = time.time()
    return (until - since) / 2, there - (since + until) / 2


def _on(node: ClusterNode) -> Any:
    return NodeAffinitySchedulingStrategy(node_id=node.id, soft=False)


def _requires_token(gcs: str) -> bool | None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_TOKEN")}
    knock = [sys.executable, "-c", _KNOCK, gcs]
    environment = {**variables, "RAY_AUTH_MODE": "disabled"}
    try:
        done = subprocess.run(  # noqa: S603
            knock, env=environment, capture_output=True, text=True, timeout=_KNOCK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return {"refused": True, "open": False}.get(done.stdout.strip())
