"""The workers of a session on Ray: actors that are created, used again, and given up for others."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError

from quorate.execution.assignment import Assignment
from quorate.execution.content import Destination
from quorate.execution.events import Event
from quorate.execution.queue import needs
from quorate.execution.ray.actor import Actor
from quorate.execution.ray.autoscaling import Autoscaler, actor_options
from quorate.execution.ray.draining import Draining
from quorate.execution.ray.health_checks import HealthChecks
from quorate.execution.ray.nodes import Nodes
from quorate.execution.ray.pending_actors import PendingActors
from quorate.execution.ray.pieces import Arrivals, Piece
from quorate.execution.ray.placement_groups import PlacementGroups
from quorate.execution.ray.worker import Worker
from quorate.plan.groups import NODE_ID
from quorate.plan.tasks import DataAddition, JobData, Resources

_REFRESH_SECONDS = 1.0
_IDLE_SECONDS = 5.0
"""Seconds after which an idle actor gives its resources back, as a new one may wait for its node. An assumption: a new
actor takes about 2 s to start."""
_ROUNDING = 1e-6
"""Ray counts resources in units of 1e-4; sums of fractions are rounded."""


class ActorPool:
    """The actors of a session.

    An idle actor is used again for a unit with the same resources. It is given up when a waiting unit lacks what it
    holds, and after `_IDLE_SECONDS`. Pending actors wait for new nodes (`want`). The data of the job are placed once,
    and additions are sent to each actor. No actor starts on the nodes `without`. `own` if this machine is
    the only node.
    """

    def __init__(
        self,
        data: JobData,
        nodes: Nodes,
        autoscaler: Autoscaler,
        destination: Destination | None,
        without: frozenset[str] = frozenset(),
        *,
        own: bool = False,
    ) -> None:
        self._without, self._own = without, own
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
        self._health, self._draining = HealthChecks(), Draining()
        self._groups = PlacementGroups()
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

        Call it only if `lacking` returned nothing. A unit that can have several workers gets as many as there is room
        for.
        """
        resources = self._granted(resources)
        if idle := self._idle.get(resources):
            actor = idle.pop()
            actor.was_idle = True
        else:
            idlers = self._idlers()
            while most is not None and idlers and len(self._busy) + len(idlers) >= most:
                self.retire(idlers.pop(0))
            actor = self._held_by(self._create(resources), resources)
        for addition in self._additions[actor.placed :]:
            actor.handle.place.remote((addition,))
        actor.placed = len(self._additions)
        return actor

    def want(self, wanted: Mapping[Resources, int]) -> None:
        """Ask the cluster for nodes for this number of further actors, or of workers that they will lead."""
        single: Counter[Resources] = Counter()
        for resources, count in wanted.items():
            single[resources.of_one] += count * resources.workers[0]
        self._pending.want(single)

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
        """Whether an actor has an event now, or a part of one has arrived."""
        if any(len(actor.arrivals) for actor in self._busy.values()):
            return True
        return bool(self._busy and ray.wait(list(self._busy), num_returns=1, timeout=0)[0])

    def next_event(self, actor: Actor) -> Event | Piece | None:
        """The next event of a busy actor, or a piece of it; None at the end of its task.

        Raises `RayError` if the actor has died, and `OSError` if the disk for temporary files is full.
        """
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

    def started(self, actor: Actor) -> None:
        """The task of an actor has started: its workers have joined, if it leads some."""
        if actor.resources.shared:
            self._groups.ask(actor)

    def retire(self, actor: Actor, *, broken: bool = False) -> None:
        """End an actor and give its resources back; `broken` if it may not answer.

        An actor that leads others ends them and then itself: if it was killed, Ray would keep what they hold.
        """
        if actor.resources.shared and actor.stream is not None and not broken:
            actor.handle.give_up.remote()
        else:
            with contextlib.suppress(RayError):
                ray.kill(actor.handle, no_restart=True)
        if actor.stream is not None:
            del self._busy[actor.stream]
        actor.stream, actor.running, actor.arrivals = None, {}, Arrivals()
        idle = self._idle.get(actor.resources, [])
        if actor in idle:
            idle.remove(actor)
        self._count(actor, counts=False)
        if actor.resources.shared:
            if broken:
                self._groups.died()
            self._groups.look(self._busy.values())

    def on_silent_nodes(self) -> list[tuple[Actor, str]]:
        """The busy actors whose node does not answer, and its id; no new one starts there, and the idle ones are ended.

        Actors on nodes that are about to leave are asked to checkpoint and stop.
        """
        self._ask_for_nodes()
        self._groups.look(self._busy.values())
        self._health.look(node for actor in [*self._busy.values(), *self._idlers()] for node in actor.nodes)
        silent, draining = self._health.silent, self._draining.nodes()
        self._leave_out(silent | draining | self._without)
        for actor in self._idlers():
            if actor.node in silent or actor.node in draining:
                self.retire(actor)
        for actor in self._busy.values():
            if actor.nodes & draining and not actor.leaves:
                actor.leaves = True
                actor.handle.stop.remote()
        return [(actor, min(actor.nodes & silent)) for actor in self._busy.values() if actor.nodes & silent]

    def newly_late(self) -> Iterator[tuple[Actor, str, float]]:
        """The nodes that are newly late with an answer: a busy actor that needs the node, its id, the seconds."""
        for node, seconds in self._health.newly_late().items():
            needing = (one for one in self._busy.values() if node in one.nodes and one.running)
            if (actor := next(needing, None)) is not None:
                yield actor, node, seconds

    def _leave_out(self, nodes: frozenset[str]) -> None:
        """Do not count these nodes, nor what their actors hold."""
        self._nodes.leave_out(nodes)
        for actor in [*self._busy.values(), *self._idlers()]:
            self._count(actor, counts=actor.nodes.isdisjoint(nodes))

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
        self._health.close()
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
        return missing or (only_actor if self._autoscaler.can_grow and not wanted.shared else set())

    def _granted(self, wanted: Resources) -> Resources:
        """The resources with the largest allowed number of workers for which there is room now."""
        least, most = wanted.workers
        for count in range(most, least, -1):
            larger = replace(wanted, workers=(count, count))
            if self._nodes.slots(larger) and not self._missing(larger, self._held):
                return larger
        return replace(wanted, workers=(least, least))

    def _held_by(self, handle: Any, resources: Resources) -> Actor:
        self._held.update(needs(resources))
        return Actor(handle, resources, node_asked=handle.whereabouts.remote())

    def _create(self, resources: Resources) -> Any:
        options = actor_options(resources)
        if without := self._health.silent | self._without:
            others = {NODE_ID: f"!in({','.join(sorted(without))})"}
            options["label_selector"] = others | options.get("label_selector", {})
            resources = replace(
                resources, labels=tuple((others | dict(resources.labels)).items())
            )  # for those it leads
        actor_class: Any = Worker
        # as references, so that an actor that leads others can pass them on
        return actor_class.options(**options).remote((self._data,), (self._destination,), resources, not self._own)

    def _idlers(self) -> list[Actor]:
        """The idle actors, the one that has been idle the longest first."""
        return sorted((actor for actors in self._idle.values() for actor in actors), key=lambda actor: actor.since)

    def _missing(self, wanted: Resources, held: Counter[str]) -> set[str]:
        """The resources that exceed the total of the cluster minus what is held."""
        total = self._nodes.total(wanted)
        return {name for name, amount in needs(wanted).items() if total[name] - held[name] < amount - _ROUNDING}
