"""What waiting units reserve of memory: the estimates of the plan, corrected by what tasks used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from quorate.execution.events import Featured, Fitted
from quorate.members.backbone import Backbone
from quorate.plan.placement import reservation
from quorate.plan.tasks import FeatureTask, FitTask, PredictTask, Resources, Task, Unit
from quorate.training.context import MemoryUse

_BEYOND = 1.5
"""A task that was ended for its memory needs this many times what it used until then (an assumption)."""


class Reservations:
    """The memory that units of each member reserve, unless the job file sets it.

    While every task stays within the memory that comes with its cores, no unit reserves any. From the first task that
    uses more, all units that start later reserve what they need.
    """

    def __init__(
        self,
        most_memory: Callable[[Resources], int] | None,
        whole_node: Callable[[Resources], Resources] | None = None,
    ) -> None:
        self._most_memory, self._whole_node = most_memory, whole_node
        self._used: dict[str | Backbone, MemoryUse] = {}
        """By the name of the member, or by the frozen network."""
        self._counted = False
        self._alone: set[str] = set()
        """The keys of the tasks that run alone on a node, because they exhausted its memory."""
        self._begun: dict[str, MemoryUse | None] = {}
        """What running tasks were expected to use when they started."""

    def of(self, unit: Unit) -> Unit:
        """The unit with what it reserves; a unit that needs more than the largest node reserves all of it."""
        task = unit.tasks[0]
        if self._whole_node is not None and self.is_alone(task):
            return replace(unit, reserved=self._whole_node(task.resources))
        fit = _decisive(task)
        known = self._known(task)
        if known is None or (fit.share is None and fit.accelerator_memory is None):
            return unit
        reserved = reservation(fit, known, counted=self._counted or fit.resources.memory > 0)
        if fit.share is not None and reserved.memory:
            together = len(unit.tasks) if unit.mode == "together" else 1
            most = self._most_memory(reserved) if self._most_memory is not None else 0
            reserved = replace(reserved, memory=min(reserved.memory * together, most or reserved.memory * together))
        return replace(unit, reserved=None if reserved == fit.resources else reserved)

    def begin(self, task: Task) -> None:
        """Note what a task that starts now is expected to use."""
        self._begun[task.key] = self._known(task)

    def end(self, task: Task) -> None:
        """A running task has ended."""
        self._begun.pop(task.key, None)

    def expected(self, task: Task) -> MemoryUse | None:
        """What a task was expected to use when it started; None if that is not known."""
        return self._begun.get(task.key, self._known(task))

    def _known(self, task: Task) -> MemoryUse | None:
        fit = _decisive(task)
        return self._used.get(fit.member, fit.expected)

    def is_alone(self, task: Task) -> bool:
        """Whether the task runs alone on a node."""
        return task.key in self._alone

    def exhausted(self, task: Task, used: MemoryUse | None) -> None:
        """Raise the estimate of a member that exhausted the memory of a node; the task itself runs alone on one."""
        self.count_all()
        self._alone.add(task.key)
        known = self._known(task)
        if known is not None:
            seen = int(_BEYOND * used.node) if used is not None else 0
            self._used[_decisive(task).member] = replace(known, node=max(known.node, seen))

    def count_all(self) -> None:
        """From now on, all units reserve what they need."""
        self._counted = True

    def learn(self, done: Fitted | Featured) -> Literal["member", "all"] | None:
        """Note what a task used. Returns whose waiting units reserve something else now; None if nothing changes."""
        task, used = done.task, done.memory
        if used is None or (task.share is None and task.accelerator_memory is None):
            return None
        before = self._used.get(task.member)
        if before is not None:
            used = MemoryUse(max(used.node, before.node), max(used.accelerator, before.accelerator))
        self._used[task.member] = used
        counted = self._counted or task.resources.memory > 0
        if not counted and task.share is not None and used.node > task.share:
            self._counted = True
            return "all"
        known = before or task.expected
        if known is not None and reservation(task, known, counted=counted) == reservation(task, used, counted=counted):
            return None  # it is rounded, so this is the usual case
        return "member"


def _decisive(task: Task) -> FitTask | FeatureTask:
    """The task whose memory is known: a prediction uses no more than its fit."""
    return task.fit if isinstance(task, PredictTask) else task
