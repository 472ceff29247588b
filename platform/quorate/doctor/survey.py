"""Survey a cluster from a process that runs on it, as the driver of a job does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import TypeAdapter

from quorate.doctor.check import CheckResult
from quorate.doctor.node import NodeFacts, NodeQuestion, StoreChallenge
from quorate.doctor.services import tracking
from quorate.errors import UserError
from quorate.store import Store, StoreUnavailable, open_store, variables_of


@dataclass(frozen=True)
class NodeReport:
    """A node, and what it tells about itself."""

    name: str
    address: str
    is_head: bool
    is_draining: bool
    object_store: int
    """Bytes of Ray's object store."""
    facts: NodeFacts | None
    fault: str
    """Why there are no facts."""
    clock: float
    """Seconds by which its clock is ahead of that of the driver."""
    uncertainty: float
    """The error of `clock` is at most this."""

    def __str__(self) -> str:
        return self.address + (" (head)" if self.is_head else "")


@dataclass(frozen=True)
class Survey:
    """What is known of a cluster."""

    gcs: str
    """Host and port that nodes join."""
    dashboard: str
    """Host and port; empty if it was not started."""
    requires_token: bool | None
    """None if this could not be found out."""
    nodes: tuple[NodeReport, ...]
    """The nodes that are alive, the head first."""
    store: str
    """The address of the store that was looked for."""
    store_fault: str
    """Why the driver cannot use the store; empty if it can."""
    tracking: tuple[CheckResult, ...]
    """Whether the driver reaches the tracking store."""

    def to_text(self) -> str:
        """As one line of JSON."""
        return TypeAdapter(Survey).dump_json(self).decode()

    @classmethod
    def from_text(cls, text: str) -> Survey:
        """Raises `ValueError`."""
        return TypeAdapter(Survey).validate_json(text)


def take_survey(address: str, store: str) -> Survey:
    """Survey the cluster at a Ray address; raises `ClusterError` if it cannot be reached.

    Only a nonce is written to the store, and it is removed again.
    """
    from quorate.execution.ray.cluster import start_ray

    start_ray(address, keeps_memory=False)
    from quorate.execution.ray.survey import NodeAnswer, ask_nodes, living_nodes, services

    head = services()
    with _challenged(store) as (opened, challenge, fault):
        nodes = living_nodes()
        asked = ask_nodes([node for node in nodes if not node.is_draining], NodeQuestion(challenge))
        asked += [NodeAnswer(node, None, "", 0.0, 0.0) for node in nodes if node.is_draining]
    reports = [
        NodeReport(
            answer.node.name,
            answer.node.address,
            answer.node.is_head,
            answer.node.is_draining,
            int(answer.node.resources.get("object_store_memory", 0)),
            answer.answer,
            answer.fault,
            answer.clock,
            answer.uncertainty,
        )
        for answer in asked
    ]
    where = store if opened is None else opened.address
    return Survey(head.gcs, head.dashboard, head.requires_token, tuple(reports), where, fault, tuple(tracking()))


@contextlib.contextmanager
def _challenged(uri: str) -> Iterator[tuple[Store | None, StoreChallenge | None, str]]:
    """The store with a nonce, or why it cannot be used."""
    with contextlib.ExitStack() as stack:
        try:
            store = open_store(uri)
            nonce = stack.enter_context(store.challenge())
        except (UserError, StoreUnavailable) as error:
            yield None, None, str(error)
            return
        yield store, StoreChallenge(store.address, nonce, variables_of(store.address)), ""
