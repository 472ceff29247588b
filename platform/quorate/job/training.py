"""Run the missing tasks of a plan, and store each result when it arrives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from quorate.execution.base import Executor, Policy, Sources
from quorate.execution.budget import Agenda, Budget, round_of
from quorate.execution.estimates import Estimates, makespan
from quorate.execution.events import (
    Checkpointed,
    Event,
    Failed,
    Featured,
    Fitted,
    OutOfTime,
    Predicted,
    Reported,
    SoFar,
    Started,
)
from quorate.execution.interrupt import StopRequest
from quorate.execution.workplace import Workplace
from quorate.job.features import BackboneError, Extraction, find_features
from quorate.job.planning import without_backbone
from quorate.job.session import JobSession
from quorate.job.tracker import Tracker
from quorate.members.base import Proba
from quorate.plan.identity import predict_key
from quorate.plan.tasks import FeatureTask, FitTask, Plan, PredictTask, Resources, Task, Unit
from quorate.report.progress import Screen, Watch
from quorate.results.results import Fit, Results
from quorate.runs.leaderboard import MemberStatus
from quorate.runs.logs import RunLogs
from quorate.spec import Job
from quorate.training.context import Metrics
from quorate.training.soundness import difference

_PACKING = 1.5
"""Time to read and verify the files of a result and write them to the bundle, as a multiple of the time to store them
(an assumption)."""


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
            return "diverged" if "diverged" in failed else "failed"
        if any(task.key in self.late for task in tasks):
            return "out of time"
        whole = all(self.fits[task.key].complete for task in tasks if task.key in self.fits)
        return "ok" if whole else "stopped early"


@dataclass(frozen=True)
class Trainer:
    """Runs the missing tasks of a plan; every training of a job goes through it."""

    job: Job
    place: Workplace
    results: Results
    tracker: Tracker
    logs: RunLogs
    screen: Screen
    stop: StopRequest
    session: JobSession

    def policy(self, agenda: Agenda | None) -> Policy:
        """How the session of this job treats its tasks."""
        spec, results, fits = self.job.spec.execution, self.results, self.session.fits
        return Policy(
            retries=spec.retries,
            lost_workers=spec.lost_workers,
            checkpoint_seconds=spec.checkpoint_seconds,
            workers=spec.workers,
            sources=Sources(results.checkpoint, lambda task: results.files(fits[task.key])),
            agenda=agenda,
        )

    def complete(
        self,
        plan: Plan,
        work: JobProgress,
        budget: Budget | None = None,
        open_executor: Callable[[], Executor] | None = None,
    ) -> None:
        """Run the missing tasks, with a budget as many as it allows. The executor is opened only if a task is missing.

        Raises `SpecError` if the weights of a frozen network are not available, and `Interrupted` after a signal.
        """
        if units := units_left(plan, work, self.results):
            executor = (open_executor or self.place.executor)()
            try:
                train(units, plan, work, executor, self, budget)
            except BackboneError as error:
                raise without_backbone(self.job, plan, error) from None
        self.stop.check()


def find_finished(plan: Plan, results: Results) -> dict[str, Fit]:
    """Fit tasks of this plan that are finished in the store."""
    found = (results.find(task) for task in plan.tasks)
    return {fit.task.key: fit for fit in found if fit is not None}


def units_left(plan: Plan, work: JobProgress, results: Results) -> list[Unit]:
    """The units that have not run yet. Test predictions that the store already has are added to `work`."""
    units = [Unit((task,)) for task in plan.runs if any(part.key not in work.fits for part in task.all)]
    return units + [Unit((task,)) for task in _missing_predictions(plan, work, results)]


def train(
    units: Sequence[Unit],
    plan: Plan,
    work: JobProgress,
    executor: Executor,
    trainer: Trainer,
    budget: Budget | None = None,
) -> None:
    """Run `units`, with a budget as many as it allows, and store each result when it arrives.

    Features that they need and that are not in the store are computed first. Raises `BackboneError` if the weights of a
    frozen network are not available.
    """
    results, spec = trainer.results, trainer.job.spec.execution
    extraction = find_features(plan, units, results)
    every = [*(Unit((task,)) for task in extraction.missing), *units]
    shares = WorkerShares(every, executor, spec.workers)
    for fit in work.fits.values():
        if not fit.task.view:
            work.estimates.reused(fit.task, fit.seconds)
    agenda = Agenda(budget, work.estimates, shares) if budget is not None else None
    trainer.session.fits |= work.fits
    trainer.session.open(executor, plan.context, trainer.policy(agenda))
    watch = Watch(trainer.screen, every, work.estimates, shares, reused=len(work.fits), budget=budget)
    begun: set[str] = set()
    so_far: dict[str, Fitted] = {}
    heard = AttemptHistory()

    with watch.shown():
        for given in _in_turn(extraction, units, trainer.session):
            # a network that is out of time counts with its last interim result
            event = heard.judge(so_far.pop(given.task.key, given) if isinstance(given, OutOfTime) else given)
            trainer.logs.write(event)
            if isinstance(event, Checkpointed):
                results.keep_checkpoint(event)
                continue
            if isinstance(event, SoFar):
                so_far[event.task.key] = event.result
                continue
            work.estimates.on(event, time.monotonic())
            since = time.monotonic()
            if isinstance(event, Started):
                begun.add(event.task.key)
            elif isinstance(event, Fitted):
                so_far.pop(event.task.key, None)
                _keep(event, plan, work, results)
                if budget is not None:
                    budget.reserve += _PACKING * (time.monotonic() - since)
            elif isinstance(event, Predicted):
                key = event.task.fit.key
                if key not in work.fits:
                    continue  # its model was rejected while the worker predicted the test rows
                work.tests[key] = event.proba
                if work.fits[key].complete:
                    results.keep_predicted(event)
            elif isinstance(event, Featured):
                results.keep_features(event)
            elif isinstance(event.task, FeatureTask):
                pass  # the tasks that need it end with their own events
            elif isinstance(event, Failed) and event.final:
                for part in _fits_of(event.task):
                    work.failures[part.key] = event
                    work.fits.pop(part.key, None)
                    if event.status == "diverged":
                        results.drop_checkpoint(part)  # its state cannot be continued
            elif isinstance(event, OutOfTime):
                for part in _fits_of(event.task):
                    work.late[part.key] = event
                    work.fits.pop(part.key, None)
            if not isinstance(event, OutOfTime) or event.task.key in begun:
                trainer.tracker.on(event)
            watch.on(event)
    work.features_left = extraction.missing


def _in_turn(extraction: Extraction, units: Sequence[Unit], session: JobSession) -> Iterator[Event]:
    """The events of all units. Units that need features are submitted when these are available.

    The caller must handle an event before it requests the next one.
    """
    ready, waiting = extraction.split(units)
    session.place(extraction.networks)
    session.place(extraction.vectors())
    session.submit(Unit((task,)) for task in extraction.missing)
    session.submit(ready)
    for event in session.events():
        yield event
        if isinstance(event.task, FeatureTask) and extraction.on(event):
            yield from extraction.without(waiting)
            session.place(extraction.vectors())
            ready, waiting = extraction.split(waiting)
            session.submit(ready)


class AttemptHistory:
    """The metrics of each epoch of the first attempt at a fit task, to compare them with those of later attempts."""

    def __init__(self) -> None:
        self._epochs: dict[str, dict[int, Metrics]] = {}

    def judge(self, event: Event) -> Event:
        """Return the event, or a failure if the epochs of a result differ from those of an earlier attempt.

        Attempts on equal processors give equal bits; attempts on different processors give almost equal metrics. Larger
        differences mean that memory was overwritten in one of the attempts, and it is unknown in which one.
        """
        if isinstance(event, Reported):
            self._epochs.setdefault(event.task.key, {}).setdefault(event.epoch, event.metrics)
        if not isinstance(event, Fitted):
            return event
        before = self._epochs.get(event.task.key, {})
        for epoch, figures in enumerate(event.history, start=1):
            if epoch in before and (found := difference(before[epoch], figures)) is not None:
                message = (
                    f"two attempts at this task differ: in epoch {epoch}, {found}; one of them was corrupted in "
                    "memory, so neither is kept; start the job again, and try another version of torch if this happens "
                    "again"
                )
                return Failed(event.task, 1, "diverged", message)
        return event


class WorkerShares:
    """The share of all workers that a task occupies: 1 / (the number of tasks with these resources that can run at
    once)."""

    def __init__(self, units: Sequence[Unit], executor: Executor, most: int | None) -> None:
        self._shares: dict[Resources, float] = {}
        for unit in units:
            if unit.resources not in self._shares:
                slots = min(executor.slots(unit.resources), most or len(units))
                self._shares[unit.resources] = 1 / max(slots, 1)

    def __call__(self, task: Task) -> float:
        return self._shares.get(task.resources, 1.0)


def seconds_to_quorum(plan: Plan, work: JobProgress, *, need: int, share: WorkerShares) -> float:
    """Estimated seconds of training until `need` members have at least one fold, if the fastest members run first."""
    firsts = [min(plan.of(label), key=round_of) for label in plan.labels]
    missing = [task for task in firsts if task.key not in work.fits and task.key not in work.failures]
    waiting = sorted((work.estimates.seconds(task), share(task)) for task in missing)
    present = sum(task.key in work.fits for task in firsts)
    before = [(work.estimates.seconds(task), share(task)) for task in work.features_left]
    return makespan([], [*before, *waiting[: max(need - present, 0)]])


def _fits_of(task: FitTask | PredictTask) -> tuple[FitTask, ...]:
    """The fit tasks that have no result if a task fails."""
    return task.all if isinstance(task, FitTask) else (task.fit,)


def _keep(event: Fitted, plan: Plan, work: JobProgress, results: Results) -> None:
    """Store a result and the results of the same fit's other members; a fit that was stopped early can lack some of
    them."""
    for part in event.all:
        _keep_one(part, plan, work, results)
    for task in event.task.others:
        if task.key not in work.fits:
            work.late[task.key] = OutOfTime(task, True, "the training was stopped before it produced this member")


def _keep_one(event: Fitted, plan: Plan, work: JobProgress, results: Results) -> None:
    work.failures.pop(event.task.key, None)
    if event.complete:
        work.fits[event.task.key] = results.keep(event)
        results.drop_checkpoint(event.task)
    else:
        work.fits[event.task.key] = results.hold(event)  # its checkpoint is kept, so that training can continue
    if event.test is not None and plan.context.test is not None:
        work.tests[event.task.key] = event.test
        if event.complete:
            results.keep_prediction(predict_key(event.task.key, plan.context.test), event.test)


def _missing_predictions(plan: Plan, work: JobProgress, results: Results) -> Iterator[PredictTask]:
    """Take the test predictions of reused fit tasks from the store, and yield a task for each one that is missing."""
    if plan.context.test is None:
        return
    for key, fit in work.fits.items():
        task = PredictTask(predict_key(key, plan.context.test), fit.task)
        proba = results.prediction(task)
        if proba is None:
            yield task
        else:
            work.tests[key] = proba
