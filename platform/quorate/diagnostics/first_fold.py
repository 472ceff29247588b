"""Open one member of a job with the training rows of its first fold, for training in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quorate.data.dataset import Dataset, Images
from quorate.errors import UserError
from quorate.execution.workplace import Workplace
from quorate.job.planning import plan_job
from quorate.members.base import Member
from quorate.plan.opening import open_data
from quorate.plan.tasks import FitTask
from quorate.registry import MEMBERS, did_you_mean
from quorate.spec import Job, MemberParams
from quorate.training.context import Metrics, Numerics, Signal, State


@dataclass(frozen=True)
class FirstFold:
    """The fit task of a member's first copy and fold, and its training rows."""

    task: FitTask
    train: Dataset

    def untrained(self, params: MemberParams | None = None) -> Any:
        """A new untrained member, with `params` instead of its own parameters if given."""
        made: Member = MEMBERS.get(self.task.kind)(
            params or self.task.params, signature=self.train.signature, n_classes=self.train.n_classes
        )
        return made


def open_subject(job: Job, member: str) -> FirstFold:
    """The member of a job by its name; raises `UserError` if it does not exist or cannot be planned."""
    names = list(job.spec.members)
    if member not in job.spec.members:
        raise UserError(
            f"the job has no member {member!r}{did_you_mean(member, names)} (its members: {', '.join(names)})"
        )
    context = open_data(job)
    plan = plan_job(job, context, Workplace("local", None, lambda executor: None))
    task = next(task for task in plan.tasks if task.member == member)
    return FirstFold(task, context.train.take(context.folds[task.fold].train))


@dataclass
class DetachedContext:
    """A task context that stores nothing. `on_epoch` receives the metrics of each epoch and returns whether to
    continue."""

    seed: int
    numerics: Numerics
    on_epoch: Callable[[Metrics], bool] = lambda metrics: True
    deadline: float | None = None
    restored: State | None = field(default=None, init=False)
    unlabelled: Images | None = field(default=None, init=False)

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        return Signal.CONTINUE if metrics is None or self.on_epoch(metrics) else Signal.STOP

    def asset(self, path: Path) -> Path:
        return path
