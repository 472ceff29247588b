"""The workers of a session on Ray: actors that are created, used again, and given up for others."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray
from ray.exceptions import RayError

from quorate.execution.assignment import Assignment, Control
from quorate.execution.autoscaling import Autoscaler, actor_options
from quorate.execution.content import Destination, inline
from quorate.execution.draining import Draining
from quorate.execution.events import Event, Fitted
from quorate.execution.nodes import Nodes
from quorate.execution.pending import PendingActors
from quorate.execution.pulse import Pulses
from quorate.execution.queue import needs
from quorate.execution.stream import stream
from quorate.plan.groups import NODE_ID
from quorate.plan.tasks import DataAddition, JobData, Resources, Task

_REFRESH_SECONDS = 1.0
_IDLE_SECONDS = 5.0
"""Seconds after which an idle actor gives its resources back, as a new one may wait for its node. An assumption: a new
actor takes about 2 s to start."""
_ROUNDING = 1e-6
"""Ray counts resources in units of 1e-4; sums of fractions are rounded."""


@ray.remote(concurrency_groups={"control": 1})
class Worker:
    """Runs tasks one after another; the methods of the group `control` work while a task runs."""

    def __init__(self, data: JobData, destination: Destination | None) -> None:
        self._data = data
        self._control = Control()
        self._write = destination.connect() if destination is not None else inline

    def place(self, addition: DataAddition) -> None:
        self._data = addition.added_to(self._data)

    def work(self, assignments: list[Assignment]) -> Iterator[Event]:
        log = ""
        with contextlib.suppress(OSError):
            log = str(Path("/proc/self/fd/2").readlink())
        logged = [replace(assignment, log=log) for assignment in assignments]
        yield from stream(logged, self._data, self._control, write=self._write)

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


@dataclass(eq=False)
class Actor:
    """An actor, the unit that it runs, and the stream of its events."""

    handle: Any
    resources: Resources
    node: str = ""
    """The id of its node, and `pid` its process there; empty until they are known."""
    pid: int = 0
    node_asked: Any = None
    counts: bool = True
    """Whether its resources are of those that are held: not on a node that is left out of the totals."""
    leaves: bool = False
    """Whether its node is about to leave, and it was asked to stop."""
    placed: int = 0
    """The number of data additions that it has been sent."""
    was_idle: bool = False
    """Whether it was idle before its running task: it may have died then."""
    since: float = 0.0
    """When it became idle, on the clock of `time.monotonic`."""
    rest: deque[Task] = field(default_factory=deque)
    """The tasks of its unit that come after the running one."""
    stream: Any = None
    running: dict[str, Assignment] = field(default_factory=dict)
    """The running tasks by their keys, until their last events: one, or those of a pack."""
    log: str = ""
    due: float | None = None
    """The deadline that the worker has for its task, on the driver's clock; None before the task has started."""

    def begin(self, assignments: list[Assignment]) -> None:
        self.running = {one.task.key: replace(one, restored=None, files=None) for one in assignments}
        self.log, self.due = "", None
        self.stream = self.handle.work.options(num_returns="streaming").remote(assignments)

    def next_event(self) -> Event | None:
        """The next event; None at the end of the task. Raises `RayError` if the worker has died."""
        try:
            event: Event = _owned(ray.get(next(self.stream)))
        except StopIteration:
            self.stream = None
            return None
        return event


class ActorPool:
    """The actors of a session.

    An idle actor is used again for a unit with the same resources. It is given up when a waiting unit lacks what it
    holds, and after `_IDLE_SECONDS`. Pending actors wait for new nodes (`want`). The data of the job are placed once,
    and additions are sent to each actor. No actor starts on the nodes `without`.
    """

    def __init__(
        self,
        data: JobData,
        nodes: Nodes,
        autoscaler: Autoscaler,
        destination: Destination | None,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self._without = without
        nodes.leave_out(without)
        self._data, self._nodes, self._autoscaler = ray.put(data), nodes, autoscaler
        # not as a plain argument, which Ray keeps in the table of actors: it may hold credentials
        self._destination = ray.put(destination)
        self._additions: list[Any] = []
        self._busy: dict[Any, Actor] = {}
        """By the stream of the events."""
        self._idle: dict[Resources, list[Actor]] = {}
        self._held: Counter[str] = Counter()
        self._pending = PendingActors(self._create)
        self._pulses, self._draining = Pulses(), Draining()
        self._looked = time.monotonic()

    @property
    def busy(self) -> Iterable[Actor]:
        return self._busy.values()

    def __len__(self) -> int:
        """The number of busy actors."""
        return len(self._busy)

    def place(self, addition: DataAddition) -> None:
        """Send an addition to the data to each actor before its next task."""
        self._additions.append(ray.put(addition))

    def take(self, resources: Resources, most: int | None) -> Actor:
        """Return an idle actor with these resources, or a new one; there are at most `most` actors.

        Call it only if `lacking` returned nothing.
        """
        if idle := self._idle.get(resources):
            actor = idle.pop()
            actor.was_idle = True
        else:
            idlers = self._idlers()
            while most is not None and idlers and len(self._busy) + len(idlers) >= most:
                self.retire(idlers.pop(0))
            actor = self._held_by(self._create(resources), resources)
        for addition in self._additions[actor.placed :]:
            actor.handle.place.remote(addition)
        actor.placed = len(self._additions)
        return actor

    def want(self, wanted: Mapping[Resources, int]) -> None:
        """Ask the cluster for nodes for this number of further actors."""
        self._pending.want(wanted)

    def take_started(self) -> None:
        """Take over pending actors that have started on a node, as idle ones."""
        for resources, handle in self._pending.started():
            self.rest(self._held_by(handle, resources))

    def begin(self, actor: Actor, assignments: list[Assignment]) -> None:
        actor.begin(assignments)
        self._busy[actor.stream] = actor

    def ready(self) -> list[Actor]:
        """Return the actors that have an event or have died; if there are none, wait up to 0.2 s for one."""
        streams = list(self._busy)
        found, _ = ray.wait(streams, num_returns=len(streams), timeout=0)
        if not found:
            found, _ = ray.wait(streams, num_returns=1, timeout=0.2)
        return [self._busy[one] for one in found]

    def any_ready(self) -> bool:
        """Whether an actor has an event now."""
        return bool(self._busy and ray.wait(list(self._busy), num_returns=1, timeout=0)[0])

    def next_event(self, actor: Actor) -> Event | None:
        """The next event of a busy actor; None at the end of its task. Raises `RayError` if it has died."""
        stream = actor.stream
        event = actor.next_event()
        if event is None:
            del self._busy[stream]
            actor.was_idle = False
        return event

    def rest(self, actor: Actor) -> None:
        """Let an actor without a task wait for another unit."""
        actor.since = time.monotonic()
        self._idle.setdefault(actor.resources, []).append(actor)

    def retire(self, actor: Actor) -> None:
        """End an actor and give its resources back."""
        with contextlib.suppress(RayError):
            ray.kill(actor.handle, no_restart=True)
        if actor.stream is not None:
            del self._busy[actor.stream]
        actor.stream, actor.running = None, {}
        idle = self._idle.get(actor.resources, [])
        if actor in idle:
            idle.remove(actor)
        self._count(actor, counts=False)

    def on_silent_nodes(self) -> list[Actor]:
        """The busy actors whose node does not answer; no new one starts there, and the idle ones are ended.

        Actors on nodes that are about to leave are asked to checkpoint and stop.
        """
        self._ask_for_nodes()
        self._pulses.look({actor.node for actor in [*self._busy.values(), *self._idlers()] if actor.node})
        silent, draining = self._pulses.silent, self._draining.nodes()
        self._leave_out(silent | draining | self._without)
        for actor in self._idlers():
            if actor.node in silent or actor.node in draining:
                self.retire(actor)
        for actor in self._busy.values():
            if actor.node in draining and not actor.leaves:
                actor.leaves = True
                actor.handle.stop.remote()
        return [actor for actor in self._busy.values() if actor.node in silent]

    def _leave_out(self, nodes: frozenset[str]) -> None:
        """Do not count these nodes, nor what their actors hold."""
        self._nodes.leave_out(nodes)
        for actor in [*self._busy.values(), *self._idlers()]:
            self._count(actor, counts=actor.node not in nodes)

    def _count(self, actor: Actor, *, counts: bool) -> None:
        """Count the resources of an actor as held, or no longer."""
        if counts != actor.counts:
            actor.counts = counts
            (self._held.update if counts else self._held.subtract)(needs(actor.resources))

    def _ask_for_nodes(self) -> None:
        """Learn the nodes of actors that have started."""
        asked = {actor.node_asked: actor for actor in self._busy.values() if not actor.node}
        for answer in ray.wait(list(asked), num_returns=len(asked), timeout=0)[0] if asked else ():
            with contextlib.suppress(RayError):  # it has died; its stream of events says so
                asked[answer].node, asked[answer].pid = ray.get(answer)

    def retire_all(self) -> None:
        self._pulses.close()
        self._pending.want_none()
        for actor in [*self._busy.values(), *self._idlers()]:
            self.retire(actor)

    def retire_unused(self) -> None:
        """Give up actors that have been idle for long."""
        now = time.monotonic()
        if now - self._looked < _REFRESH_SECONDS:
            return
        self._looked = now
        for actor in self._idlers():
            if now - actor.since > _IDLE_SECONDS:
                self.retire(actor)

    def lacking(self, wanted: Resources) -> set[str]:
        """The resources that a unit would have to wait for; idle actors with other resources are ended if that
        makes room.

        A unit that no present node can hold, or for which an actor is pending, lacks the actor alone: it does not delay
        other units.
        """
        if self._idle.get(wanted):
            return set()
        only_actor = {f"actor with {wanted}"}
        if not self._nodes.slots(wanted):
            return only_actor
        if missing := self._missing(wanted, self._held):
            idlers = self._idlers()
            busy = Counter(self._held)
            for actor in idlers:
                busy.subtract(needs(actor.resources))
            if not (missing := self._missing(wanted, busy)):
                while self._missing(wanted, self._held):
                    self.retire(idlers.pop(0))
        return missing or (only_actor if self._autoscaler.can_grow else set())

    def _held_by(self, handle: Any, resources: Resources) -> Actor:
        self._held.update(needs(resources))
        return Actor(handle, resources, node_asked=handle.whereabouts.remote())

    def _create(self, resources: Resources) -> Any:
        options = actor_options(resources)
        if without := self._pulses.silent | self._without:
            others = {NODE_ID: f"!in({','.join(sorted(without))})"}
            options["label_selector"] = others | options.get("label_selector", {})
        actor_class: Any = Worker
        return actor_class.options(**options).remote(self._data, self._destination)

    def _idlers(self) -> list[Actor]:
        """The idle actors, the one that has been idle the longest first."""
        return sorted((actor for actors in self._idle.values() for actor in actors), key=lambda actor: actor.since)

    def _missing(self, wanted: Resources, held: Counter[str]) -> set[str]:
        """The resources that exceed the total of the cluster minus what is held."""
        total = self._nodes.total(wanted)
        return {name for name, amount in needs(wanted).items() if total[name] - held[name] < amount - _ROUNDING}


def _owned(event: Event) -> Event:
    """The event with copies of its arrays; the arrays from Ray are views that keep the whole result in its store."""
    own: dict[str, Any] = {}
    for name in (part.name for part in fields(event)):
        value = getattr(event, name)
        if isinstance(value, np.ndarray):
            own[name] = value.copy()
        elif isinstance(value, Fitted):
            own[name] = _owned(value)
        elif name == "others":
            own[name] = tuple(map(_owned, value))
    changed: Any = replace
    owned: Event = changed(event, **own)
    return owned
