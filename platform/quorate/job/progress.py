"""What a job has finished so far."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from quorate.execution.estimates import Estimates
from quorate.execution.events import Failed, OutOfTime
from quorate.members.base import Proba
from quorate.plan.tasks import FeatureTask, Plan
from quorate.results.results import Fit, Results
from quorate.runs.leaderboard import MemberStatus

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


def find_finished(plan: Plan, results: Results) -> dict[str, Fit]:
    """Fit tasks of this plan that are finished in the store."""
    with ThreadPoolExecutor(_SEARCHES_AT_ONCE) as threads:
        return {fit.task.key: fit for fit in threads.map(results.find, plan.tasks) if fit is not None}
