"""The worker: a remote actor that runs tasks and can be asked to stop, checkpoint or end a task meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import ray

from quorate.execution.assignment import Assignment, Control, Signals
from quorate.execution.content import inline
from quorate.execution.events import Event, Failed, Fitted, Started
from quorate.execution.ray.group_worker import GroupFit
from quorate.execution.ray.pieces import Piece, in_pieces
from quorate.execution.ray.process import log_of_process, name_of_process
from quorate.execution.ray.worker_group import train_with_workers
from quorate.execution.stream import stream
from quorate.plan.tasks import Resources


@dataclass(frozen=True)
class GroupPlace:
    """Where the workers of a group run: the ids of their nodes, and of their placement group."""

    nodes: frozenset[str] = frozenset()
    placement_group: str = ""


@ray.remote(concurrency_groups={"control": 1, "events": 1})
class Worker:
    """Runs tasks one after another; the methods of the group `control` work while a task runs.

    With several workers in `resources` it leads them: it starts them for each task and passes on what they send.
    `data` and `destination` hold a reference each, so that the workers of a group can have it too.
    The names of workers in events have the address of their node (`by_address`), or the name of their machine.
    """

    def __init__(self, data: tuple[Any], destination: tuple[Any], resources: Resources, by_address: bool) -> None:
        self._references, self._destination, self._resources = list(data), destination[0], resources
        self._data = ray.get(data[0])
        self._by_address = by_address
        self._control = Control(name_of_process(by_address=by_address))
        self._emit: Callable[[Event], None] | None = None
        self._failures: dict[int, Failed] = {}
        self._begun = self._start_seconds = 0.0
        self._place, self._given_up = GroupPlace(), False
        self._addresses: dict[int, str] = {}
        found = None if resources.shared else ray.get(self._destination)
        self._write = found.connect() if found is not None else inline

    def place(self, addition: tuple[Any]) -> None:
        self._references += addition
        self._data = ray.get(addition[0]).added_to(self._data)

    def work(self, assignments: list[Assignment]) -> Iterator[Event | Piece]:
        logged = [replace(assignment, log=log_of_process()) for assignment in assignments]
        train = self._lead if self._resources.shared else None
        yield from in_pieces(stream(logged, self._data, self._control, write=self._write, train=train))

    def _lead(self, assignment: Assignment, emit: Callable[[Event], None]) -> None:
        """Train a fit with several workers."""
        self._emit, self._failures, self._addresses, self._place = emit, {}, {}, GroupPlace()
        self._begun = time.perf_counter()
        lead = ray.get_runtime_context().current_actor
        fit = GroupFit(assignment, tuple(self._references), self._destination, lead, self._by_address)
        train_with_workers(fit, self._resources, self._failures, self._addresses, emit)

    @ray.method(concurrency_group="events")  # type: ignore[untyped-decorator]
    def hear(self, event: Event) -> None:
        """Take an event from the first worker of the group; the start of the group is a part of the fit's seconds."""
        assert self._emit is not None, "only the workers of a group send events"
        if isinstance(event, Started):
            self._start_seconds = time.perf_counter() - self._begun
        elif isinstance(event, Fitted):
            event = replace(event, seconds=event.seconds + self._start_seconds)
        self._emit(event)

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def join(self, rank: int, node: str, address: str, placement_group: str) -> None:
        """A worker of the group has started on this node, which has this address."""
        self._addresses[rank] = address
        self._place = GroupPlace(self._place.nodes | {node}, placement_group)

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def fail(self, rank: int, failure: Failed) -> None:
        """A worker of the group has failed."""
        self._failures[rank] = failure

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def signals(self) -> Signals | None:
        """The signals for the workers of the group; None if their task was given up."""
        return None if self._given_up else self._control.signals()

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def give_up(self) -> None:
        """End the workers of the group, or those that start later. Ray Train then frees what they hold."""
        self._given_up = True

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def group_place(self) -> GroupPlace:
        return self._place

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def whereabouts(self) -> tuple[str, int]:
        """The id of its node, and its process there."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        self._control.stop.set()

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def checkpoint(self) -> None:
        self._control.checkpoints += 1

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def ask(self, number: int, what: Literal["finish", "cancel"]) -> None:
        self._control.asked[number] = what

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def end_in(self, seconds: float) -> None:
        self._control.end_in(seconds)
