"""Compute the features of several frozen networks before a job is planned, and keep them in the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from quorate.data.features import Matrix
from quorate.execution.base import Sources
from quorate.execution.budget import Agenda, Budget
from quorate.execution.estimates import Estimates
from quorate.execution.events import ENDS, Event, Failed, Featured, OutOfTime
from quorate.job.ensemble import JobFailed
from quorate.job.features import BackboneError, look_up
from quorate.job.fits import FitRunner
from quorate.job.lease import features_lease
from quorate.job.outages import StoreOutages
from quorate.job.session import JobSession, policy_of
from quorate.job.training import WorkerShares
from quorate.members.backbone import Backbone
from quorate.plan.planner import feature_plan
from quorate.plan.tasks import DataAddition, FeatureTask, JobData, Plan, Unit
from quorate.spec import ExecutionSpec
from quorate.training.hub import HubError

PART = 0.4
"""Fraction of a budget after which no further features are computed for a choice. An assumption, not a measurement."""
_AHEAD = 2
"""Number of tasks in the queue for each worker. An assumption, not a measurement."""


@dataclass(frozen=True, eq=False)
class CandidateVectors:
    """The features of the training rows, by network; and the networks that are left out, with the reason."""

    found: dict[Backbone, Matrix]
    seconds: dict[Backbone, float]
    """Seconds that the features took now, over all workers; 0 if they were in the store."""
    left_out: dict[Backbone, str] = field(default_factory=dict)


def candidate_vectors(
    backbones: Sequence[Backbone],
    data: JobData,
    runner: FitRunner,
    spec: ExecutionSpec,
    budget: Budget | None = None,
) -> CandidateVectors:
    """Compute or find the features of the training rows of `data`, the cheapest network first.

    A network is left out if its weights are not available, if its tasks fail, or if there is no time for it in a
    budget. Raises `BackboneError` if none is left, `Interrupted` after a signal, and `JobFailed` if another process
    takes the lease.
    """
    plans: dict[Backbone, Plan] = {}
    left_out: dict[Backbone, str] = {}
    for backbone in backbones:
        try:
            plans[backbone] = feature_plan([backbone], data, runner.place)
        except HubError as error:
            left_out[backbone] = str(error)
    if not plans:
        backbone = backbones[0]
        raise BackboneError(backbone, left_out[backbone])
    ordered = sorted(plans, key=lambda one: sum(task.cost for task in plans[one].features))
    plan = Plan((), data, tuple(task for one in ordered for task in plans[one].features))
    outages = StoreOutages(runner.say, stopping=lambda: runner.stop.requested)
    extraction = look_up(plan, plan.features, runner.results)
    seconds = dict.fromkeys(ordered, 0.0)
    if extraction.missing:
        with features_lease(runner.store, extraction.missing, runner.stop, say=runner.say):
            extraction = look_up(plan, plan.features, runner.results)  # another process may have held the lease
            missing = extraction.missing
            for event in _events(missing, extraction.networks, data, runner, spec, budget) if missing else ():
                if isinstance(event, Featured):
                    outages.call(partial(runner.results.keep_features, event))
                    seconds[event.task.backbone] += event.seconds
                if isinstance(event.task, FeatureTask):
                    extraction.on(event)
    found: dict[Backbone, Matrix] = {}
    for backbone in ordered:
        keys = [task.key for task in plans[backbone].features]
        lost = extraction.lost.get(backbone)
        if all(key in extraction.found for key in keys):
            found[backbone] = np.concatenate([extraction.found[key] for key in keys])
        elif isinstance(lost, Failed | OutOfTime):
            left_out[backbone] = lost.message
        else:
            left_out[backbone] = f"no time: {PART:.0%} of the budget is used"
    if not found:
        backbone, reason = next(iter(left_out.items()))
        raise JobFailed(f"the features of no network could be computed; {backbone.arch}: {reason}")
    return CandidateVectors({one: found[one] for one in backbones if one in found}, seconds, left_out)


def _events(
    tasks: Sequence[FeatureTask],
    networks: DataAddition,
    data: JobData,
    runner: FitRunner,
    spec: ExecutionSpec,
    budget: Budget | None,
) -> Iterator[Event]:
    """Run the tasks in their order; in a budget, those that begin in time, and only until it is used up."""
    executor, waiting = runner.place.executor(), deque(tasks)
    shares = WorkerShares([Unit((task,)) for task in tasks], executor, spec.workers)
    agenda = Agenda(budget, Estimates(), shares) if budget is not None else None
    ahead = _AHEAD * max(1, executor.slots(tasks[0].resources))
    with JobSession(runner.stop) as session:
        session.open(executor, data, policy_of(spec, sources=Sources(), agenda=agenda), runner.results.destination())
        session.place(networks)
        session.submit(Unit((waiting.popleft(),)) for _ in range(min(ahead, len(waiting))))
        for event in session.events():
            yield event
            ended = isinstance(event, ENDS) and not (isinstance(event, Failed) and not event.final)
            del event
            if ended and waiting and not (budget is not None and budget.used() > PART * budget.seconds):
                session.submit([Unit((waiting.popleft(),))])
    runner.stop.check()
