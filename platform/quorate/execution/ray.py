"""Run units on Ray actors: one queue, a stream of events, and a control channel to busy workers."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from quorate.execution.base import Attempts, Policy, Sources, longest_first
from quorate.execution.budget import Agenda
from quorate.execution.events import ENDS, Event, Failed, Fitted, OutOfTime, Started, Stopped
from quorate.execution.stream import Assignment, Control, assign, stream, this_hardware
from quorate.execution.worker_signals import cause_of_death
from quorate.plan.tasks import JobData, Resources, Task, Unit
from quorate.training.context import Hardware

_REFRESH_SECONDS = 1.0
_TAIL_LINES = 20
_DUE_SECONDS = 0.5
"""Seconds that the deadline of a running task may move before the worker gets the new one."""
_LAST_CALL_SECONDS = 1.0
"""Seconds after the end of training in which results are still accepted."""
_GRACE_SECONDS = 20.0
"""Seconds that a unit too large for every node waits for a new node."""


@ray.remote(concurrency_groups={"control": 1})
class Worker:
    """Runs tasks one after another; the methods of the group `control` work while a task runs."""

    def __init__(self, context: JobData) -> None:
        self._context = context
        self._control = Control()

    def work(self, assignment: Assignment) -> Iterator[Event]:
        log = ""
        with contextlib.suppress(OSError):
            log = str(Path("/proc/self/fd/2").readlink())
        yield from stream(replace(assignment, log=log), self._context, self._control)

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        self._control.stop.set()

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def checkpoint(self) -> None:
        self._control.checkpoint.set()

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def end_in(self, seconds: float) -> None:
        self._control.end_in(seconds)


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
def _hardware_there() -> Hardware:
    return this_hardware()


@dataclass
class _Actor:
    """An actor, the unit that it runs, and the stream of its events."""

    handle: Any
    resources: Resources
    tasks: deque[Task] = field(default_factory=deque)
    stream: Any = None
    task: Task | None = None
    log: str = ""
    told_to_stop: bool = False
    due: float | None = None
    """The deadline that the worker has for its task, on the driver's clock; None before the task has started."""


class RayExecutor:
    """Runs units on actors of the Ray that this process is connected to; `own` if it is a local Ray that ends with
    this process."""

    name = "ray"

    def __init__(self, *, own: bool) -> None:
        self._own = own
        self._actors: list[_Actor] = []
        self._queue: deque[tuple[Task, ...]] = deque()
        self._stopping = self._wants_checkpoint = False
        self._nodes: list[dict[str, float]] = []
        self._nodes_read = 0.0
        self._busy_at = time.monotonic()
        self._agenda: Agenda | None = None

    def hardware(self) -> Hardware:
        if self._own:
            return this_hardware()
        there: Hardware = ray.get(_hardware_there.remote())
        return there

    def slots(self, resources: Resources) -> int:
        return sum(_fits(node, resources) for node in self._alive_nodes())

    def run(
        self,
        units: Sequence[Unit],
        *,
        context: JobData,
        sources: Sources,
        policy: Policy,
        agenda: Agenda | None = None,
    ) -> Iterator[Event]:
        attempts, self._agenda = Attempts(policy), agenda
        self._queue = deque(unit.tasks for unit in longest_first(units))
        shared = ray.put(context)
        try:
            while self._queue or any(actor.stream for actor in self._actors):
                if self._stopping:
                    yield from self._give_up()
                elif agenda is not None and agenda.over() and not self._arriving(agenda):
                    yield from self._out_of_time(agenda)
                else:
                    self._fill(shared, attempts, sources, policy)
                    # On a cluster that has shrunk, an idle actor would hold resources that a waiting actor needs.
                    self._retire([actor for actor in self._actors if actor.stream is None])
                self._pass_on_signals()
                streams = {actor.stream: actor for actor in self._actors if actor.stream is not None}
                if not streams:
                    yield from self._hopeless(attempts)
                    yield from self._without_use()
                    time.sleep(0.05)
                    continue
                self._busy_at = time.monotonic()
                ready, _ = ray.wait(list(streams), num_returns=1, timeout=0.2)
                for stream_ready in ready:
                    yield from self._next_event(streams[stream_ready], attempts, sources, policy)
        finally:
            self._retire(self._actors)

    def stop(self) -> None:
        self._stopping = True

    def checkpoint(self) -> None:
        self._wants_checkpoint = True

    def close(self) -> None:
        self._retire(self._actors)
        if self._own:
            ray.shutdown()

    def _fill(self, shared: Any, attempts: Attempts, sources: Sources, policy: Policy) -> None:
        """Give waiting units, the longest first, to idle or new actors while resources are free.

        Resources that a longer unit waits for are reserved for it; shorter units that do not need them start.
        """
        kept: set[str] = set()
        if self._agenda is not None:
            self._queue = deque(self._agenda.order(self._queue))
        for tasks in list(self._queue):
            if self._agenda is not None and not self._agenda.may_start(tasks[0]):
                continue
            wanted = tasks[0].resources
            if kept & set(_needs(wanted)):
                continue
            if policy.workers is not None and sum(a.stream is not None for a in self._actors) >= policy.workers:
                return
            idle = next((a for a in self._actors if a.stream is None and a.resources == wanted), None)
            if idle is None:
                if self._lacking(wanted):
                    self._retire([actor for actor in self._actors if actor.stream is None])
                if lacking := self._lacking(wanted):
                    kept |= lacking
                    continue
                idle = _Actor(_create(wanted, shared), wanted)
                self._actors.append(idle)
            self._queue.remove(tasks)
            idle.tasks = deque(tasks)
            self._begin(idle, attempts, sources, policy)

    def _hopeless(self, attempts: Attempts) -> Iterator[Failed]:
        """Fail units that no node can hold, when nothing runs and no new node has joined for `_GRACE_SECONDS`."""
        if time.monotonic() - self._busy_at < _GRACE_SECONDS:
            return
        for tasks in [tasks for tasks in self._queue if not self.slots(tasks[0].resources)]:
            self._queue.remove(tasks)
            message = f"no node of the cluster has {tasks[0].resources}; lower cpus, gpus or memory, or add a node"
            for task in tasks:
                yield Failed(task, attempts.number(task), "failed", message)

    def _begin(self, actor: _Actor, attempts: Attempts, sources: Sources, policy: Policy) -> None:
        task = actor.tasks.popleft()
        left = self._agenda.seconds_left() if self._agenda is not None else None
        tests = self._agenda.for_tests([*self._queue, tuple(actor.tasks)]) if self._agenda is not None else 1.0
        number = attempts.number(task)
        assignment = assign(task, number, sources=sources, policy=policy, seconds_left=left, for_tests=tests)
        actor.task, actor.log, actor.due = task, "", None
        actor.stream = actor.handle.work.options(num_returns="streaming").remote(assignment)

    def _next_event(self, actor: _Actor, attempts: Attempts, sources: Sources, policy: Policy) -> Iterator[Event]:
        try:
            event: Event = _owned(ray.get(next(actor.stream)))
        except StopIteration:
            actor.stream = None
            if actor.resources.gpus:  # a new process frees the memory of the accelerator
                self._queue.extendleft([tuple(actor.tasks)] if actor.tasks else [])
                self._retire([actor])
            elif actor.tasks and not self._stopping:
                self._begin(actor, attempts, sources, policy)
            return
        except (RayActorError, RayTaskError, RayError) as error:
            yield from self._lost(actor, error, attempts)
            return
        if isinstance(event, Started):
            actor.log, actor.due = event.log, 0.0
        if isinstance(event, ENDS):
            actor.task = None  # if the worker dies now, nothing is lost
        if isinstance(event, Failed):
            event = attempts.after(event)
            if not event.final:
                self._queue.append((event.task,))
        yield event

    def _lost(self, actor: _Actor, error: Exception, attempts: Attempts) -> Iterator[Failed]:
        """Handle the loss of a worker: its task is repeated, and its late results are ignored."""
        waiting = list(actor.tasks)
        if actor.task is not None:
            log = _read(actor.log)
            message = f"the worker died: {cause_of_death(str(error) or type(error).__name__, log)}"
            event = attempts.after(Failed(actor.task, 0, "lost", message, _tail(log), actor.log))
            waiting = ([] if event.final else [actor.task]) + waiting
            yield event
        self._queue.extendleft((one,) for one in reversed(waiting))
        actor.stream = None
        self._retire([actor])
        self._nodes_read = 0.0

    def _give_up(self) -> Iterator[Event]:
        """Yield `Stopped` for waiting tasks; running tasks checkpoint and end."""
        while self._queue:
            yield from (Stopped(task) for task in self._queue.popleft())

    def _arriving(self, agenda: Agenda) -> bool:
        """Whether results that were made in time have not arrived yet."""
        streams = [actor.stream for actor in self._actors if actor.stream is not None]
        return bool(streams and ray.wait(streams, timeout=0)[0]) and agenda.budget.training_left() > -_LAST_CALL_SECONDS

    def _out_of_time(self, agenda: Agenda) -> Iterator[OutOfTime]:
        """End the training: give up running tasks with their workers, and yield `OutOfTime` for waiting tasks."""
        for actor in [actor for actor in self._actors if actor.stream is not None]:
            self._queue.extendleft((task,) for task in actor.tasks)
            actor.stream = None
            if actor.task is not None:
                yield OutOfTime(actor.task, True, "it had not ended when the time for training was over")
        self._retire(self._actors)
        while self._queue:
            yield from (OutOfTime(task, False, agenda.why_not(task)) for task in self._queue.popleft())

    def _without_use(self) -> Iterator[OutOfTime]:
        """Yield `OutOfTime` for tasks that would not end in time, if no running task can improve the estimates."""
        agenda = self._agenda
        if agenda is None or any(agenda.may_start(tasks[0]) for tasks in self._queue):
            return
        while self._queue:
            yield from (OutOfTime(task, False, agenda.why_not(task)) for task in self._queue.popleft())

    def _pass_on_signals(self) -> None:
        for actor in self._actors:
            if actor.stream is None:
                continue
            if self._stopping and not actor.told_to_stop:
                actor.told_to_stop = True
                actor.handle.stop.remote()
            if self._wants_checkpoint:
                actor.handle.checkpoint.remote()
            self._tell_when_due(actor)
        self._wants_checkpoint = False

    def _tell_when_due(self, actor: _Actor) -> None:
        """Update the workers' deadlines: their processes took time to start, and the reserve for the end may change."""
        if self._agenda is None or actor.task is None or actor.due is None:
            return
        left = self._agenda.seconds_left()
        if abs(time.monotonic() + left - actor.due) > _DUE_SECONDS:
            actor.due = time.monotonic() + left
            actor.handle.end_in.remote(left)

    def _retire(self, actors: Sequence[_Actor]) -> None:
        for actor in list(actors):
            with contextlib.suppress(RayError):
                ray.kill(actor.handle, no_restart=True)
            self._actors.remove(actor)

    def _lacking(self, wanted: Resources) -> set[str]:
        """The resources of `wanted` that exceed the total of the cluster minus the share of our actors."""
        lacking = set()
        for name, need in _needs(wanted).items():
            total = sum(node.get(name, 0.0) for node in self._alive_nodes())
            if total - sum(_needs(actor.resources).get(name, 0.0) for actor in self._actors) < need - 1e-9:
                lacking.add(name)
        return lacking

    def _alive_nodes(self) -> list[dict[str, float]]:
        if time.monotonic() - self._nodes_read > _REFRESH_SECONDS:
            self._nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self._nodes_read = time.monotonic()
        return self._nodes


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


def _create(resources: Resources, shared: Any) -> Any:
    options: dict[str, Any] = {
        "num_cpus": resources.cpus,
        "num_gpus": resources.gpus,
        "max_restarts": 0,
    }
    if resources.memory:
        options["memory"] = resources.memory
    actor_class: Any = Worker
    return actor_class.options(**options).remote(shared)


def _needs(resources: Resources) -> dict[str, float]:
    needs = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": float(resources.memory)}
    return {name: amount for name, amount in needs.items() if amount}


def _fits(node: dict[str, float], resources: Resources) -> int:
    return int(min((node.get(name, 0.0) // amount for name, amount in _needs(resources).items()), default=0))


def _read(log: str) -> str | None:
    """The log of a worker; None if it is not on this machine."""
    try:
        return Path(log).read_text(errors="replace") if log else None
    except OSError:
        return None


def _tail(log: str | None) -> str:
    """The last lines of a worker's log."""
    return "\n".join((log or "").splitlines()[-_TAIL_LINES:])
