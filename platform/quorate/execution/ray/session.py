"""One session on Ray: a queue, a stream of events from each worker, and a control channel to busy workers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal

from ray.exceptions import RayError

from quorate.execution.backlog import Backlog
from quorate.execution.base import Policy
from quorate.execution.budget import Agenda
from quorate.execution.events import ENDS, Event, HostSilent, NodeAwaited, OutOfTime, Started, Stopped
from quorate.execution.node_waits import NodeWaits
from quorate.execution.ray.actor import Actor
from quorate.execution.ray.actor_pool import ActorPool
from quorate.execution.ray.autoscaling import Autoscaler
from quorate.execution.ray.health_checks import SILENT_SECONDS
from quorate.execution.ray.heartbeats import Heartbeats
from quorate.execution.ray.nodes import Nodes
from quorate.execution.ray.pieces import Piece
from quorate.execution.ray.session_signals import SessionSignals
from quorate.execution.ray.worker_failures import LostHost, failures_of
from quorate.execution.silence import SilenceWatch
from quorate.plan.tasks import DataAddition, JobData, Task, Unit

_LAST_CALL_SECONDS = 1.0
"""Seconds after the end of training in which results are still accepted."""
_LOOK_SECONDS = 1.0
"""Seconds between two looks at the nodes."""


class RaySession:
    """The session of a cluster; nothing runs on the nodes `without`."""

    def __init__(
        self,
        data: JobData,
        policy: Policy,
        nodes: Nodes,
        autoscaler: Autoscaler,
        wait_for_nodes: float,
        without: frozenset[str],
        *,
        own: bool,
    ) -> None:
        self._backlog = Backlog(policy, nodes.most_memory, nodes.whole)
        self._nodes, self._autoscaler = nodes, autoscaler
        self._waits, self._look_at = NodeWaits(autoscaler, wait_for_nodes), 0.0
        self._pool = ActorPool(data, nodes, autoscaler, policy.destination, without, own=own)
        self._silence, self._heartbeats = SilenceWatch(policy.patience, data), Heartbeats(policy.patience.frozen)
        self._agenda, self._workers = policy.agenda, policy.workers
        self._signals = SessionSignals(policy.agenda)
        self._spared: set[str] = set()
        """The keys of tasks whose idle worker died before they started."""

    def submit(self, units: Iterable[Unit]) -> None:
        self._backlog.submit(units)

    def place(self, addition: DataAddition) -> None:
        self._pool.place(addition)

    def finish(self, task: Task) -> None:
        if not self._ask(task, "finish"):
            self._withdraw(task)

    def cancel(self, task: Task) -> None:
        if not self._ask(task, "cancel"):
            self._withdraw(task)

    def events(self) -> Iterator[Event]:
        while True:
            yield from self._backlog.ended()
            if self._signals.stopping:
                self._backlog.end_all(stopped=True)
                yield from self._give_up_stopping()
            elif self._agenda is not None and self._agenda.over() and not self._arriving(self._agenda):
                yield from self._out_of_time()
            else:
                self._fill()
                self._pool.retire_unused()
                yield from self._look_at_nodes()
            self._signals.pass_on(self._pool)
            if len(self._pool):
                for actor in self._pool.ready():
                    yield from self._next_event(actor)
                yield from self._end_silent()
            elif not self._backlog and not self._backlog.has_ended:
                self._pool.want({})
                return
            else:
                self._without_use()

    def stop(self, within: float | None = None) -> None:
        self._signals.stop(within)

    def checkpoint(self) -> None:
        self._signals.checkpoint()

    def close(self) -> None:
        """End all workers."""
        self._pool.retire_all()

    def _fill(self) -> None:
        """Give waiting units to idle or new actors while resources are free.

        In a cluster that can grow, actors are pending until Ray has started them, and only then get a unit: a unit must
        not wait for one actor while another one is free.
        """
        self._pool.take_started()
        while self._backlog and (self._workers is None or len(self._pool) < self._workers):
            unit = self._backlog.take(self._pool.lacking)
            if unit is None:
                return
            actor = self._pool.take(unit.resources, self._workers)
            actor.rest.extend(unit.tasks)
            self._begin(actor)

    def _look_at_nodes(self) -> Iterator[Event]:
        """Once a second, start the tasks of nodes that do not answer elsewhere, and let the cluster grow or shrink."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_SECONDS
        for actor, node in self._pool.on_silent_nodes():
            silent = LostHost(self._nodes.address(node), f"has not answered for {SILENT_SECONDS:.0f} s")
            yield from self._lost(actor, silent)
        for actor, node, seconds in self._pool.newly_late():
            task = next(iter(actor.running.values())).task
            yield HostSilent(task, self._nodes.address(node), seconds, SILENT_SECONDS)
        yield from self._scale()

    def _scale(self) -> Iterator[Event]:
        """Ask the cluster for the nodes that the waiting units need, and fail units that no node will hold."""
        waiting = self._backlog.waiting()
        lacking = [resources for resources in waiting if not self._nodes.is_known(resources)]
        for wait in self._waits.look(lacking, idle=not len(self._pool)):
            unit, _ = waiting[wait.resources]
            if wait.refusal:
                self._backlog.refuse(wait.resources, wait.refusal)
                del waiting[wait.resources]
            else:
                yield NodeAwaited(unit.tasks[0], wait)
        if not self._autoscaler.can_grow:
            return
        room = None if self._workers is None else self._workers - len(self._pool)
        counts = {resources: count for resources, (_, count) in waiting.items()}
        self._pool.want({resources: count if room is None else min(count, room) for resources, count in counts.items()})

    def _begin(self, actor: Actor) -> None:
        self._pool.begin(actor, self._backlog.next_tasks(actor.rest))

    def _next_event(self, actor: Actor) -> Iterator[Event]:
        if actor.stream is None:
            return  # it was given up after it had been found ready
        try:
            event = self._pool.next_event(actor)
        except RayError as error:
            yield from self._lost(actor, error)
            return
        if event is None:
            self._go_on(actor)
            return
        if isinstance(event, Piece):
            self._silence.hear(assignment.task for assignment in actor.running.values())
            return
        if isinstance(event, Started):
            actor.log, actor.due = event.log, 0.0
            self._pool.started(actor)
        self._silence.on(event)
        if isinstance(event, Stopped) and not self._signals.stopping:  # its node or its process is about to leave
            del actor.running[event.task.key]
            actor.leaves = True
            self._backlog.put_back(deque([event.task]), begun=True)
            return
        if isinstance(event, ENDS):
            actor.running.pop(event.task.key, None)  # if the worker dies now, its result is not lost
        yield self._backlog.counted(event)

    def _go_on(self, actor: Actor) -> None:
        """Let an actor whose task has ended begin the next one of its unit, or wait for another unit."""
        # a new process frees the memory of the accelerator
        if actor.resources.gpus or actor.resources.shared or actor.leaves:
            self._retire(actor)
        elif actor.rest and not self._signals.stopping:
            self._begin(actor)
        else:
            self._backlog.put_back(actor.rest)
            self._pool.rest(actor)

    def _lost(self, actor: Actor, cause: Exception | LostHost) -> Iterator[Event]:
        """Handle the loss of a worker: its tasks wait again, and its late results are ignored.

        An idle actor that was given a task and died before it started may have died before that. This is not counted as
        an attempt, but only once for each task.
        """
        tasks = [assignment.task for assignment in actor.running.values()]
        if actor.was_idle and actor.due is None and self._spared.isdisjoint(actor.running):
            self._spared |= actor.running.keys()
            self._backlog.put_back(deque(tasks))
            self._retire(actor)
        else:
            yield from self._give_up(actor, cause)
        self._nodes.look_again()

    def _give_up(self, actor: Actor, cause: Exception | LostHost | str) -> Iterator[Event]:
        """End a worker that has died or is ended for a reason; its tasks count as lost."""
        tasks = [assignment.task for assignment in actor.running.values()]
        self._silence.forget(tasks)
        if isinstance(cause, RayError) and (host := self._nodes.lost_host(actor.node)):
            cause = LostHost(host, "was lost")
        yield from self._backlog.lost(failures_of(actor, tasks, cause))
        self._retire(actor, broken=True)

    def _end_silent(self) -> Iterator[Event]:
        """End the workers that are frozen, and end or report those whose tasks have been silent for too long."""
        if not self._silence.time.is_time():
            return
        for actor in self._heartbeats.frozen(self._pool.busy, self._silence.time.seconds):
            yield from self._give_up(actor, "the worker was frozen: its process is stopped")
        for actor in list(self._pool.busy):
            tasks = [assignment.task for assignment in actor.running.values()]
            silent = self._silence.overdue(tasks)
            if silent and not silent[0].spared:
                yield from self._give_up(actor, f"the worker was ended: {silent[0]}")
            else:
                yield from silent

    def _retire(self, actor: Actor, *, broken: bool = False) -> None:
        """End an actor; the tasks of its unit that it has not begun wait again."""
        self._backlog.put_back(actor.rest)
        self._pool.retire(actor, broken=broken)

    def _arriving(self, agenda: Agenda) -> bool:
        """Whether results that were made in time have not arrived yet."""
        return self._pool.any_ready() and agenda.budget.training_left() > -_LAST_CALL_SECONDS

    def _out_of_time(self) -> Iterator[OutOfTime]:
        """End the training: give up running tasks with their workers, and end waiting tasks."""
        self._pool.want({})
        for task in self._abandoned():
            yield OutOfTime(task, True, "it had not ended when the time for training was over")
        self._backlog.end_all(stopped=False)

    def _give_up_stopping(self) -> Iterator[Stopped]:
        """Give up the tasks that were asked to stop and have not ended in time, with their workers."""
        if self._signals.is_overdue:
            yield from map(Stopped, self._abandoned())
            self._backlog.end_all(stopped=True)

    def _abandoned(self) -> Iterator[Task]:
        """End all busy workers, and yield the tasks that they ran."""
        for actor in list(self._pool.busy):
            tasks = [assignment.task for assignment in actor.running.values()]
            self._retire(actor)
            yield from tasks

    def _without_use(self) -> None:
        """Nothing runs: end waiting tasks that would not end in time under a budget, as no running task can improve the
        estimates; or wait for a node."""
        if self._backlog.is_too_late:
            self._backlog.end_all(stopped=False)
        if not self._backlog.has_ended:
            time.sleep(0.05)

    def _ask(self, task: Task, what: Literal["finish", "cancel"]) -> bool:
        """Ask the worker that runs a task to end it; False if none does."""
        actor = next((actor for actor in self._pool.busy if task.key in actor.running), None)
        if actor is None:
            return False
        self._backlog.is_asked_to_end(task)
        actor.handle.ask.remote(actor.running[task.key].number, what)
        return True

    def _withdraw(self, task: Task) -> None:
        """Cancel a task that has not begun."""
        if self._backlog.cancel(task):
            return
        for actor in self._pool.busy:
            if self._backlog.cancel_next(task, actor.rest):
                return
