"""What waiting units reserve of memory: the estimates of the plan, corrected by what tasks used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from quorate.execution.events import Fitted
from quorate.plan.placement import reservation
from quorate.plan.tasks import FeatureTask, PredictTask, Resources, Unit
from quorate.training.context import MemoryUse


class Reservations:
    """The memory that units of each member reserve, unless the job file sets it.

    While every task stays within the memory that comes with its cores, no unit reserves any. From the first task that
    uses more, all units that start later reserve what they need.
    """

    def __init__(self, most_memory: Callable[[Resources], int] | None) -> None:
        self._most_memory = most_memory
        self._used: dict[str, MemoryUse] = {}
        """By the name of the member."""
        self._counted = False

    def of(self, unit: Unit) -> Unit:
        """The unit with what it reserves; a unit that needs more than the largest node reserves all of it."""
        task = unit.tasks[0]
        if isinstance(task, FeatureTask):
            return unit
        fit = task.fit if isinstance(task, PredictTask) else task
        known = self._used.get(fit.member, fit.estimate)
        if known is None or (fit.share is None and fit.accelerator_memory is None):
            return unit
        reserved = reservation(fit, known, counted=self._counted or fit.resources.memory > 0)
        if fit.share is not None and reserved.memory:
            together = len(unit.tasks) if unit.mode == "together" else 1
            most = self._most_memory(reserved) if self._most_memory is not None else 0
            reserved = replace(reserved, memory=min(reserved.memory * together, most or reserved.memory * together))
        return replace(unit, reserved=None if reserved == fit.resources else reserved)

    def learn(self, done: Fitted) -> Literal["member", "all"] | None:
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
        known = before or task.estimate
        if known is not None and reservation(task, known, counted=counted) == reservation(task, used, counted=counted):
            return None  # it is rounded, so this is the usual case
        return "member"
