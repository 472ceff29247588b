"""Plan the trials of a search as members of the job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from quorate.execution.workplace import Workplace
from quorate.job.planning import plan_job
from quorate.job.progress import JobProgress
from quorate.job.tracker import Tracker
from quorate.plan.tasks import FeatureTask, FitTask, JobData, Plan
from quorate.spec import Job, MemberParams, QuorumSpec
from quorate.spec.configuration import values_in
from quorate.spec.file import SpecError
from quorate.spec.search import Method
from quorate.spec.space import Parameter


def job_of_member(job: Job, member: str, params: MemberParams) -> Job:
    """The job with this member alone."""
    update = {"members": {member: params}, "quorum": QuorumSpec(), "grow": False}
    return replace(job, spec=job.spec.model_copy(update=update))


@dataclass
class TrialPlans:
    """Plans trials, and notes each in the journal when there is one."""

    job: Job
    data: JobData
    place: Workplace
    work: JobProgress
    parameters: Sequence[Parameter]
    """Those of the space."""
    method: Method
    features: dict[str, FeatureTask] = field(default_factory=dict)
    """The features of frozen networks that the trials learn from."""
    _tracker: Tracker | None = None
    _untracked: list[tuple[Plan, MemberParams]] = field(default_factory=list)

    def __call__(self, name: str, params: MemberParams) -> Sequence[FitTask]:
        """The fits of a trial; raises `ValueError` if it cannot be planned."""
        try:
            plan = plan_job(job_of_member(self.job, name, params), self.data, self.place)
        except SpecError as error:
            raise ValueError("; ".join(problem.message for problem in error.problems)) from None
        self.features |= {task.key: task for task in plan.features}
        self._untracked.append((plan, params))
        if self._tracker is not None:
            self.track(self._tracker)
        return self.work.corrected(plan).runs

    def track(self, tracker: Tracker) -> None:
        """Note the trials that were planned so far, and from now on each one."""
        self._tracker = tracker
        for plan, params in self._untracked:
            values = values_in(params, self.parameters)
            known = {one.path: values[one.name] for one in self.parameters if values.get(one.name) is not None}
            tracker.trial(plan, known, {"quorate.search.method": self.method})
        self._untracked.clear()
