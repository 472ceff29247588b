"""One of the workers that train a network together: a process of Ray Train's worker group."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import RayError
from torch import distributed

from quorate.execution.assignment import Assignment, Control
from quorate.execution.attempt import FitAttempt
from quorate.execution.content import ContentWriter, inline
from quorate.execution.events import Event
from quorate.execution.ray.process import log_of_process, name_of_process
from quorate.execution.stream import failure_of
from quorate.plan.tasks import JobData
from quorate.training.shared_context import SharedContext, open_channel

_POLL_SECONDS = 0.25
"""Seconds between two looks at the signals for the task."""


@dataclass(frozen=True)
class GroupFit:
    """What every worker of a group gets; the first one sends the events of the task to `lead`, an actor `Worker`."""

    assignment: Assignment
    data: tuple[Any, ...]
    """References to the data of the job, and to what was added to them."""
    destination: Any
    """A reference to the `Destination`, or to None."""
    lead: Any
    by_address: bool
    """Whether the name of a worker in events has the address of its node."""


def train_part(config: dict[str, GroupFit]) -> None:
    """Train a part of every batch of the fit, in the process group that Ray Train has made."""
    fit, rank = config["fit"], distributed.get_rank()
    assignment = replace(fit.assignment, log=log_of_process())
    lead, control = fit.lead, Control(name_of_process(by_address=fit.by_address))
    placement = ray.util.get_current_placement_group()
    here = ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address()
    ray.get(lead.join.remote(rank, *here, placement.id.hex()))
    try:
        with _following(lead, control):
            if rank:
                _train(assignment, fit, control, rank, lambda event: None, inline)
                return
            destination = ray.get(fit.destination)
            write = destination.connect() if destination is not None else inline
            _train(assignment, fit, control, rank, lambda event: ray.get(lead.hear.remote(event)), write)
    except Exception as error:
        if not is_lost_connection(error):
            ray.get(lead.fail.remote(rank, failure_of(assignment, error)))
        raise


def _train(
    assignment: Assignment,
    fit: GroupFit,
    control: Control,
    rank: int,
    emit: Callable[[Event], None],
    write: ContentWriter,
) -> None:
    data: JobData
    data, *additions = ray.get(list(fit.data))
    for addition in additions:
        data = addition.added_to(data)
    attempt = FitAttempt(assignment, data, control, emit, write)
    try:
        attempt.fit(SharedContext(attempt.context, rank=rank, channel=open_channel()))
    finally:
        attempt.context.clean()
    if rank == 0:
        attempt.end()


@contextlib.contextmanager
def _following(lead: Any, control: Control) -> Iterator[None]:
    """Look at the signals that `lead` has received, as long as the task runs."""
    ended = threading.Event()

    def look() -> None:
        try:
            signals = ray.get(lead.signals.remote())
        except RayError:
            signals = None
        if signals is None:  # the task was given up
            os._exit(1)
        control.follow(signals)

    def follow() -> None:
        while not ended.wait(_POLL_SECONDS):
            look()

    look()
    threading.Thread(target=follow, name="signals", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def is_lost_connection(error: Exception) -> bool:
    """Whether a worker failed only because another one of its group is gone."""
    return isinstance(error, distributed.DistError) or "/gloo/" in str(error)
