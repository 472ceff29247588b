"""Run sessions on Ray: one queue, a stream of events from each worker, and a control channel to busy workers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import ray
from ray.exceptions import RayError

from quorate.execution.actors import Actor, ActorPool, Nodes
from quorate.execution.backlog import Backlog
from quorate.execution.base import Policy, Session
from quorate.execution.budget import Agenda
from quorate.execution.decoding import RayDecoder
from quorate.execution.events import ENDS, Event, Failed, OutOfTime, Started
from quorate.execution.stream import this_hardware
from quorate.execution.worker_signals import cause_of_death
from quorate.plan.tasks import DataAddition, JobData, Resources, Task, Unit
from quorate.training.context import Hardware

_TAIL_LINES = 20
_DUE_SECONDS = 0.5
"""Seconds that the deadline of a running task may move before the worker gets the new one."""
_LAST_CALL_SECONDS = 1.0
"""Seconds after the end of training in which results are still accepted."""
_GRACE_SECONDS = 20.0
"""Seconds that a unit too large for every node waits for a new node."""


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
def _hardware_there() -> Hardware:
    return this_hardware()


class RayExecutor(RayDecoder):
    """Runs units on actors of the Ray that this process is connected to; `own` if it is a local Ray that ends with
    this process."""

    name = "ray"

    def __init__(self, *, own: bool) -> None:
        super().__init__(own=own)
        self._nodes = Nodes()

    def hardware(self) -> Hardware:
        if self._own:
            return this_hardware()
        there: Hardware = ray.get(_hardware_there.remote())
        return there

    def slots(self, resources: Resources) -> int:
        return self._nodes.slots(resources)

    @contextmanager
    def open(self, data: JobData, policy: Policy) -> Iterator[Session]:
        session = RaySession(data, policy, self._nodes)
        try:
            yield session
        finally:
            session.close()

    def close(self) -> None:
        if self._own:
            ray.shutdown()


class RaySession:
    """The session of a cluster."""

    def __init__(self, data: JobData, policy: Policy, nodes: Nodes) -> None:
        self._backlog, self._nodes = Backlog(policy), nodes
        self._pool = ActorPool(data, nodes)
        self._agenda, self._workers = policy.agenda, policy.workers
        self._stopping = self._wants_checkpoint = self._told_to_stop = False
        self._busy_at = time.monotonic()
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
        self._busy_at = time.monotonic()
        while True:
            yield from self._backlog.ended()
            if self._stopping:
                self._backlog.end_all(stopped=True)
            elif self._agenda is not None and self._agenda.over() and not self._arriving(self._agenda):
                yield from self._out_of_time()
            else:
                self._fill()
                self._pool.retire_unused()
            self._pass_on_signals()
            if len(self._pool):
                self._busy_at = time.monotonic()
                for actor in self._pool.ready():
                    yield from self._next_event(actor)
            elif not self._backlog and not self._backlog.has_ended:
                return
            else:
                self._without_use()

    def stop(self) -> None:
        self._stopping = True

    def checkpoint(self) -> None:
        self._wants_checkpoint = True

    def close(self) -> None:
        """End all workers."""
        self._pool.retire_all()

    def _fill(self) -> None:
        """Give waiting units to idle or new actors while resources are free."""
        while self._backlog and (self._workers is None or len(self._pool) < self._workers):
            unit = self._backlog.take(self._pool.lacking)
            if unit is None:
                return
            actor = self._pool.take(unit.resources, self._workers)
            actor.rest.extend(unit.tasks)
            self._begin(actor)

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
        if isinstance(event, Started):
            actor.log, actor.due = event.log, 0.0
        if isinstance(event, ENDS):
            actor.running.pop(event.task.key, None)  # if the worker dies now, its result is not lost
        yield self._backlog.counted(event)

    def _go_on(self, actor: Actor) -> None:
        """Let an actor whose task has ended begin the next one of its unit, or wait for another unit."""
        if actor.resources.gpus:  # a new process frees the memory of the accelerator
            self._retire(actor)
        elif actor.rest and not self._stopping:
            self._begin(actor)
        else:
            self._backlog.put_back(actor.rest)
            self._pool.rest(actor)

    def _lost(self, actor: Actor, error: Exception) -> Iterator[Event]:
        """Handle the loss of a worker: its tasks wait again, and its late results are ignored.

        An idle actor that was given a task and died before it started may have died before that. This is not counted as
        an attempt, but only once for each task.
        """
        tasks = [assignment.task for assignment in actor.running.values()]
        if actor.was_idle and actor.due is None and self._spared.isdisjoint(actor.running):
            self._spared |= actor.running.keys()
            self._backlog.put_back(deque(tasks))
        else:
            log = _read(actor.log)
            message = f"the worker died: {cause_of_death(str(error) or type(error).__name__, log)}"
            yield from self._backlog.lost(Failed(task, 0, "lost", message, _tail(log), actor.log) for task in tasks)
        self._retire(actor)
        self._nodes.look_again()

    def _retire(self, actor: Actor) -> None:
        """End an actor; the tasks of its unit that it has not begun wait again."""
        self._backlog.put_back(actor.rest)
        self._pool.retire(actor)

    def _arriving(self, agenda: Agenda) -> bool:
        """Whether results that were made in time have not arrived yet."""
        return self._pool.any_ready() and agenda.budget.training_left() > -_LAST_CALL_SECONDS

    def _out_of_time(self) -> Iterator[OutOfTime]:
        """End the training: give up running tasks with their workers, and end waiting tasks."""
        for actor in list(self._pool.busy):
            tasks = [assignment.task for assignment in actor.running.values()]
            self._retire(actor)
            for task in tasks:
                yield OutOfTime(task, True, "it had not ended when the time for training was over")
        self._backlog.end_all(stopped=False)

    def _without_use(self) -> None:
        """Nothing runs: end waiting tasks that cannot start, or wait for a node.

        Under a budget, these are tasks that would not end in time, as no running task can improve the estimates. Units
        that no node can hold fail when no new node has joined for `_GRACE_SECONDS`.
        """
        if self._backlog.is_too_late:
            self._backlog.end_all(stopped=False)
        elif time.monotonic() - self._busy_at >= _GRACE_SECONDS:
            for resources in self._backlog.resources():
                if not self._nodes.slots(resources):
                    remedy = "lower cpus, gpus or memory, or add a node"
                    self._backlog.refuse(resources, f"no node of the cluster has {resources}; {remedy}")
        if not self._backlog.has_ended:
            time.sleep(0.05)

    def _pass_on_signals(self) -> None:
        if self._stopping and not self._told_to_stop:
            self._told_to_stop = True
            for actor in self._pool.busy:
                actor.handle.stop.remote()
        if self._wants_checkpoint:
            self._wants_checkpoint = False
            for actor in self._pool.busy:
                actor.handle.checkpoint.remote()
        if self._agenda is not None:
            self._tell_when_due(self._agenda.seconds_left())

    def _tell_when_due(self, left: float) -> None:
        """Update the workers' deadlines: their processes took time to start, and the reserve for the end may change."""
        due = time.monotonic() + left
        for actor in self._pool.busy:
            if actor.running and actor.due is not None and abs(due - actor.due) > _DUE_SECONDS:
                actor.due = due
                actor.handle.end_in.remote(left)

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
            if task in actor.rest:
                self._backlog.cancel_next(task, actor.rest)
                return


def _read(log: str) -> str | None:
    """The log of a worker; None if it is not on this machine."""
    try:
        return Path(log).read_text(errors="replace") if log else None
    except OSError:
        return None


def _tail(log: str | None) -> str:
    """The last lines of a worker's log."""
    return "\n".join((log or "").splitlines()[-_TAIL_LINES:])
