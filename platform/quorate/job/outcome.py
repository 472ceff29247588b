"""The results of a job after training; the run folder is written from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quorate.job.budget import Attendance
from quorate.job.composition import Composition
from quorate.job.ensemble import JobEnsemble
from quorate.job.production import Production
from quorate.job.progress import JobProgress
from quorate.plan.tasks import Plan
from quorate.results.oof import OofPredictions
from quorate.runs.leaderboard import LeaderboardGrowth
from quorate.spec import Job


@dataclass(frozen=True)
class JobOutcome:
    """The results of a job after training."""

    job: Job
    plan: Plan
    work: JobProgress
    gathered: OofPredictions
    there: Attendance
    ensemble: JobEnsemble
    production: Production
    growth: LeaderboardGrowth | None = None
    """None if the job could not grow."""

    @classmethod
    def of(
        cls, made: Composition, work: JobProgress, production: Production, growth: LeaderboardGrowth | None = None
    ) -> Self:
        """The outcome of a job whose members are combined."""
        gathered = production.answers(made.plan, made.gathered)
        return cls(made.job, made.plan, work, gathered, made.there, made.ensemble, production, growth)

    @cached_property
    def test(self) -> NDArray[np.float64] | None:
        """The ensemble's probabilities (n, K) of the test rows; None unless all members with weight have predicted
        them."""
        gathered, combination = self.gathered, self.ensemble.combination
        if gathered.test is None or not gathered.tested[self.ensemble.weighted].all():
            return None
        return combination.apply(gathered.test)
