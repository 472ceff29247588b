"""Open one member of a job with the training rows of its first fold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from quorate.data.dataset import Dataset, Rows
from quorate.data.folds import Fold, Folds
from quorate.errors import no_member
from quorate.execution.workplace import Workplace
from quorate.job.planning import plan_job
from quorate.plan.opening import open_data
from quorate.plan.tasks import FitTask, JobData
from quorate.spec import ExecutionSpec, Job


@dataclass(frozen=True)
class FirstFold:
    """The fit task of a member's first copy and fold, and its training rows."""

    task: FitTask
    train: Dataset
    assets: dict[str, bytes] = field(default_factory=dict)
    """The files that the job's members start from."""
    execution: ExecutionSpec = field(default_factory=ExecutionSpec)

    def data(self, train: Dataset, valid: Rows) -> JobData:
        """Data of the rows `train` for tasks that train on all of them and validate on those at `valid`."""
        fold = Fold(np.arange(len(train)), valid)
        return JobData(train, None, Folds((fold,), "rows of the first fold"), self.assets)


def open_subject(job: Job, member: str, place: Workplace) -> FirstFold:
    """The member of a job by its name; raises `UserError` if it does not exist or cannot be planned for `place`."""
    if member not in job.spec.members:
        raise no_member(member, list(job.spec.members))
    context = replace(open_data(job), test=None, unlabelled=None)
    plan = plan_job(job, context, place)
    task = next(task for task in plan.tasks if task.member == member)
    rows = context.folds[task.fold].train
    return FirstFold(task, context.train.take(rows), context.assets, job.spec.execution)
