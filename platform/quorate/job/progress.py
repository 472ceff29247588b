"""What a job has finished so far."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Self

from quorate.execution.estimates import Estimates
from quorate.execution.events import Failed, OutOfTime
from quorate.members.base import Proba
from quorate.plan.placement import with_measured
from quorate.plan.tasks import FeatureTask, Plan
from quorate.results.results import Fit, Results
from quorate.runs.leaderboard import MemberStatus
from quorate.training.context import MemoryUse

_SEARCHES_AT_ONCE = 8
"""Threads that look for finished tasks; a request to an object store takes tens of milliseconds. An assumption."""


@dataclass
class JobProgress:
    """The results of a plan so far, by the key of the fit task."""

    fits: dict[str, Fit] = field(default_factory=dict)
    tests: dict[str, Proba] = field(default_factory=dict)
    failures: dict[str, Failed] = field(default_factory=dict)
    late: dict[str, OutOfTime] = field(default_factory=dict)
    """Fit tasks that the budget left out."""
    features_left: list[FeatureTask] = field(default_factory=list)
    """Feature tasks that are not finished."""
    estimates: Estimates = field(default_factory=Estimates)

    @classmethod
    def found(cls, plan: Plan, results: Results) -> Self:
        """Start with the finished fit tasks in the store."""
        return cls(fits=find_finished(plan, results))

    def corrected(self, plan: Plan) -> Plan:
        """The plan with the memory that the finished tasks used, for all tasks of their members."""
        plan = with_measured(plan, memory_of_members(self.fits.values()))
        for task in plan.tasks:
            if (fit := self.fits.get(task.key)) is not None:
                own = replace(fit.task, measured=task.measured, resources=task.resources)
                self.fits[task.key] = replace(fit, task=own)
        return plan

    def status(self, plan: Plan, label: str) -> MemberStatus:
        """`ok`, or the reason why the member is incomplete."""
        tasks = plan.of(label)
        failed = [self.failures[task.key].status for task in tasks if task.key in self.failures]
        if failed:
            return "diverged" if "diverged" in failed else "failed: memory" if "memory" in failed else "failed"
        if any(task.key in self.late for task in tasks):
            return "out of time"
        done = [self.fits[task.key] for task in tasks if task.key in self.fits]
        if not all(fit.complete for fit in done):
            return "stopped early"
        return "half batch" if any(fit.task.halved for fit in done) else "ok"


def memory_of_members(fits: Iterable[Fit]) -> dict[str, MemoryUse]:
    """The most memory that the finished fits of each member used, by its name; with the whole of their batch."""
    found: dict[str, MemoryUse] = {}
    for fit in fits:
        if (used := fit.memory) is not None and not fit.task.halved:
            before = found.get(fit.task.member, used)
            most = MemoryUse(max(used.node, before.node), max(used.accelerator, before.accelerator))
            found[fit.task.member] = most
    return found


def find_finished(plan: Plan, results: Results) -> dict[str, Fit]:
    """Fit tasks of this plan that are finished in the store."""
    with ThreadPoolExecutor(_SEARCHES_AT_ONCE) as threads:
        return {fit.task.key: fit for fit in threads.map(results.find, plan.tasks) if fit is not None}
