"""Make the ensemble of a job from the members that have predicted enough rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quorate.ensemble.assemble import Assembly, assemble
from quorate.ensemble.combination import Combination
from quorate.ensemble.combiner import combiner_of
from quorate.ensemble.dependence import Dependence
from quorate.ensemble.objectives import Objective
from quorate.ensemble.quorum import QuorumError, check_quorum
from quorate.execution.base import Executor
from quorate.execution.budget import Budget
from quorate.job.budget import Attendance, what_was_needed
from quorate.job.progress import JobProgress
from quorate.plan.identity import derive_seed
from quorate.plan.planner import recipes_of
from quorate.plan.tasks import Plan
from quorate.results.oof import OofPredictions
from quorate.spec import Job


class JobFailed(RuntimeError):
    """The job cannot form an ensemble; the message names what is missing."""


@dataclass(frozen=True)
class JobEnsemble:
    """The combined members of a job, by their labels, and how they were combined."""

    names: list[str]
    assembly: Assembly
    combination: Combination
    """The combination of all members of the plan; those that were not combined have weight 0."""
    seconds: float
    """Time that combining took."""
    objective: Objective = "nll"
    """What the combiner optimizes."""

    @property
    def weighted(self) -> list[int]:
        """Positions in the plan of the members with weight."""
        return [int(m) for m in np.flatnonzero(self.combination.weights)]


def combine(job: Job, plan: Plan, gathered: OofPredictions, members: list[int]) -> JobEnsemble:
    """Fit the job's combiner to the members at the positions `members` of the plan; raises `JobFailed`."""
    started, labels = time.monotonic(), [plan.labels[i] for i in members]
    combiner = combiner_of(job.spec.combiner, recipes=recipes_of(job.spec, labels))
    try:
        assembly = assemble(
            proba=gathered.proba[members],
            mask=gathered.mask[members],
            y=plan.context.train.y,
            combiner=combiner,
            seed=derive_seed(job.spec.seed, "combiner"),
            names=labels,
            dependence=Dependence(plan.context.train.groups, plan.context.train.time),
            learnable=gathered.learnable,
        )
    except ValueError as error:
        raise JobFailed(f"the members cannot be combined: {error}") from None
    combination = assembly.combination.among(members, len(plan.labels))
    return JobEnsemble(labels, assembly, combination, time.monotonic() - started, combiner.objective)


def counted_members(
    job: Job,
    plan: Plan,
    work: JobProgress,
    there: Attendance,
    executor: Callable[[], Executor],
    budget: Budget | None,
) -> list[int]:
    """Positions of the members that count; raises `JobFailed` if the quorum is missed, unless only for lack of time."""
    try:
        check_quorum(counted=there.members, need=1 if there.short else there.quorum, names=plan.labels)
    except QuorumError as error:
        reasons = sorted({f"{event.task}: {event.status}: {event.message}" for event in work.failures.values()})
        reasons += [f"{event.task}: out of time: {event.message}" for event in work.late.values()]
        if budget is not None and work.late:
            reasons.append(what_was_needed(job.spec, plan, work, executor(), budget))
        raise JobFailed("\n  ".join([str(error), *dict.fromkeys(reasons)])) from None
    return [int(i) for i in np.flatnonzero(there.members)]
