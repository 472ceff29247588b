"""The members of a job that are trained, with their predictions and their ensemble."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quorate.ensemble.objectives import loss
from quorate.execution.base import Executor
from quorate.execution.budget import Budget
from quorate.job.budget import Attendance, turnout
from quorate.job.ensemble import JobEnsemble, combine, counted_members
from quorate.job.progress import JobProgress
from quorate.plan.tasks import Plan
from quorate.results.oof import OofPredictions, gather
from quorate.spec import Job


@dataclass(frozen=True)
class Composition:
    """A job, its plan, and the ensemble of the members that are trained."""

    job: Job
    plan: Plan
    there: Attendance
    gathered: OofPredictions
    ensemble: JobEnsemble

    @property
    def loss(self) -> float:
        """The cross-fitted loss of the ensemble, by the objective of its combiner."""
        found = self.ensemble.assembly
        return loss(self.ensemble.objective, found.crossfit_proba[found.rows], self.plan.context.train.y[found.rows])


def compose(
    job: Job, plan: Plan, work: JobProgress, executor: Callable[[], Executor], budget: Budget | None
) -> Composition:
    """Combine the members that have predicted enough rows; raises `JobFailed` if the quorum is missed."""
    there = turnout(plan, work, job.spec.quorum)
    gathered = gather(plan, work.fits, work.tests, counting=there.folds)
    members = counted_members(job, plan, work, there, executor, budget)
    return Composition(job, plan, there, gathered, combine(job, plan, gathered, members))
