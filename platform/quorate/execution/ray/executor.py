"""Run sessions on Ray, and answer what the planner asks about the nodes of the cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from quorate.data.decoding import Corrupt, DecodingBatch
from quorate.execution.base import Policy, Session
from quorate.execution.metrics import MetricSink
from quorate.execution.node_waits import NodeWaits, NoNodeError
from quorate.execution.ray.autoscaling import Autoscaler, actor_options
from quorate.execution.ray.decoding import RayDecoder
from quorate.execution.ray.metrics import RayMetrics
from quorate.execution.ray.nodes import Nodes
from quorate.execution.ray.probes import Probes
from quorate.execution.ray.session import RaySession
from quorate.plan.groups import NodeGroup, group_nodes
from quorate.plan.tasks import JobData, Resources

_SAY_SECONDS = 60.0
"""Seconds between two messages about a node that planning waits for (an assumption)."""
_LOOK_SECONDS = 0.5
"""Seconds between two looks at the nodes."""


@ray.remote
class _Request:
    """An actor that asks for a node and does nothing."""


class RayExecutor(RayDecoder):
    """Runs units on actors of the Ray that this process is connected to; `own` if it is a local Ray that ends with
    this process.

    If the cluster can grow, units wait up to `wait_for_nodes` seconds for a node; `say` shows a message meanwhile.
    """

    name = "ray"

    def __init__(
        self, *, own: bool, wait_for_nodes: float = 600, say: Callable[[str], None] = lambda message: None
    ) -> None:
        super().__init__(own=own)
        self._nodes, self._autoscaler = Nodes(), Autoscaler()
        self._wait_seconds, self._say = wait_for_nodes, say
        self._requests: list[Any] = []
        self._probes = Probes(say)

    def groups_for(self, resources: Resources, *, present: bool = False) -> Sequence[NodeGroup]:
        if not present and not self.wait_for(resources):
            return ()
        return group_nodes(node for node in self._probes.nodes() if node.holds(resources))

    def slots(self, resources: Resources) -> int:
        return self._nodes.slots(resources)

    def wait_for(self, resources: Resources) -> bool:
        """Wait until a node can hold a unit with these resources; a cluster that can grow is asked for one.

        False if the cluster cannot grow, or if none of its node types has these resources. Raises `NoNodeError` if no
        such node joins in time. A node that joined is kept until the session opens.
        """
        if self._nodes.slots(resources):
            return True
        if not self._autoscaler.can_grow:
            return False
        waits, said = NodeWaits(self._autoscaler, self._wait_seconds), -_SAY_SECONDS
        actor_class: Any = _Request
        self._requests.append(actor_class.options(**actor_options(resources)).remote())
        while not self._nodes.slots(resources):
            (wait,) = waits.look([resources], idle=True)
            if wait.refusal:
                self._withdraw_requests()
                if wait.seconds >= wait.limit:
                    raise NoNodeError(wait.refusal)
                return False
            if wait.seconds - said >= _SAY_SECONDS:
                said = wait.seconds
                self._say(str(wait))
            time.sleep(_LOOK_SECONDS)
        return True

    def decode(self, batches: Sequence[DecodingBatch]) -> list[Corrupt]:
        """Decode batches on nodes with a free core; raises `NoNodeError` if there is none and none joins in time."""
        if not self.wait_for(Resources(1)):
            raise NoNodeError("pictures cannot be decoded, because no node of the cluster has a core; add such a node")
        self._withdraw_requests()  # their actors would keep the cores of the new nodes
        return super().decode(batches)

    def _withdraw_requests(self) -> None:
        while self._requests:
            ray.kill(self._requests.pop())

    def metrics(self, run: str) -> MetricSink:
        return RayMetrics(run)

    @contextmanager
    def open(self, data: JobData, policy: Policy) -> Iterator[Session]:
        without = self._probes.left_out
        session = RaySession(data, policy, self._nodes, self._autoscaler, self._wait_seconds, without, own=self._own)
        self._withdraw_requests()
        try:
            yield session
        finally:
            session.close()

    def close(self) -> None:
        self._withdraw_requests()
        if self._own:
            ray.shutdown()
