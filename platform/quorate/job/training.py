"""Run the missing tasks of a plan, and store each result when it arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

from quorate.execution.base import Executor, Policy, Sources
from quorate.execution.budget import Agenda, Budget, round_of
from quorate.execution.estimates import makespan
from quorate.execution.events import Event
from quorate.execution.interrupt import StopRequest
from quorate.execution.workplace import Workplace
from quorate.job.commits import CommitQueue, WaitingStates
from quorate.job.features import BackboneError, Extraction, find_features
from quorate.job.intake import Intake
from quorate.job.job_metrics import JobMetrics
from quorate.job.outages import StoreOutages
from quorate.job.planning import without_backbone
from quorate.job.progress import JobProgress
from quorate.job.session import JobSession, policy_of
from quorate.job.tracker import Tracker
from quorate.plan.identity import predict_key
from quorate.plan.tasks import FeatureTask, FitTask, Plan, PredictTask, Resources, Task, Unit
from quorate.report.progress import Screen, Watch
from quorate.results.results import Results
from quorate.runs.logs import RunLogs
from quorate.spec import Job


class Feed(Protocol):
    """Adds units to a training while it runs, such as the trials of a search."""

    def on(self, event: Event) -> None:
        """Handle an event, after the training has."""

    def take(self) -> list[Unit]:
        """The units that have been added since the last call."""

    def round_of(self, task: Task) -> int:
        """Under a budget, the round of a task: tasks of an earlier round start first."""

    def status(self) -> str:
        """The state of what adds units, for the terminal; empty if there is nothing to say."""


class NoFeed:
    """Adds nothing."""

    def on(self, event: Event) -> None:
        """Nothing follows."""

    def take(self) -> list[Unit]:
        return []

    def round_of(self, task: Task) -> int:
        return round_of(task)

    def status(self) -> str:
        return ""


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
    outages: StoreOutages

    @cached_property
    def states(self) -> WaitingStates:
        """The checkpoints that are not in the store yet."""
        return WaitingStates(self.results)

    def policy(self, agenda: Agenda | None) -> Policy:
        """How the session of this job treats its tasks."""
        spec, results, fits = self.job.spec.execution, self.results, self.session.fits
        return policy_of(
            spec,
            sources=Sources(
                lambda task: self.outages.call(lambda: self.states.read(task)),
                lambda task: self.outages.call(lambda: results.files(fits[task.key])),
            ),
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
        if units := self.outages.call(partial(units_left, plan, work, self.results)):
            self.run(units, plan, work, budget, open_executor or self.place.executor)
        self.stop.check()

    def run(
        self,
        units: Sequence[Unit],
        plan: Plan,
        work: JobProgress,
        budget: Budget | None,
        open_executor: Callable[[], Executor],
        feed: Feed | None = None,
    ) -> None:
        """Run units of a plan, and those that `feed` adds; raises `SpecError` if the weights of a frozen network are
        not available."""
        try:
            train(units, plan, work, open_executor(), self, budget, feed or NoFeed())
        except BackboneError as error:
            raise without_backbone(self.job, plan, error) from None

    def submit(self, units: Sequence[Unit]) -> None:
        """Give units to the session."""
        self.tracker.queued(units)
        self.session.submit(units)


def units_left(plan: Plan, work: JobProgress, results: Results) -> list[Unit]:
    """The units that have not run yet. Test predictions that the store already has are added to `work`."""
    units = in_packs(task for task in plan.runs if any(part.key not in work.fits for part in task.all))
    return units + [Unit((task,)) for task in _missing_predictions(plan, work, results)]


def in_packs(tasks: Iterable[FitTask]) -> list[Unit]:
    """A unit for each task; the copies of a member whose kind packs them share one for each fold.

    A pack that has lost a part of its tasks, because they have ended, is trained with the rest.
    """
    packs: dict[tuple[object, ...], list[FitTask]] = {}
    for task in tasks:
        packs.setdefault((task.member, task.fold) if task.numerics.pack > 1 else (task.key,), []).append(task)
    return [Unit(tuple(pack), "together" if pack[0].numerics.pack > 1 else "sequence") for pack in packs.values()]


def train(
    units: Sequence[Unit],
    plan: Plan,
    work: JobProgress,
    executor: Executor,
    trainer: Trainer,
    budget: Budget | None = None,
    feed: Feed | None = None,
) -> None:
    """Run `units`, with a budget as many as it allows, and store each result when it arrives; `feed` can add more.

    Features that they need and that are not in the store are computed first. Raises `BackboneError` if the weights of a
    frozen network are not available.
    """
    results, spec, feed = trainer.results, trainer.job.spec.execution, feed or NoFeed()
    extraction = trainer.outages.call(partial(find_features, plan, units, results))
    every = [*(Unit((task,)) for task in extraction.missing), *units]
    shares = WorkerShares(every, executor, spec.workers)
    for fit in work.fits.values():
        if not fit.task.view:
            work.estimates.reused(fit.task, fit.seconds)
    agenda = Agenda(budget, work.estimates, shares, feed.round_of) if budget is not None else None
    trainer.session.fits |= work.fits
    trainer.session.open(executor, plan.context, trainer.policy(agenda), results.destination())
    watch = Watch(
        trainer.screen, every, work.estimates, shares, reused=len(work.fits), budget=budget, status=feed.status
    )
    commits = CommitQueue(trainer.outages, trainer.stop, trainer.states)
    with watch.shown(), commits:
        metrics = JobMetrics(executor.metrics(trainer.tracker.run), watch)
        intake = Intake(plan, work, results, trainer.logs, trainer.tracker, watch, commits, budget, metrics)
        for event in _in_turn(extraction, units, trainer, feed, watch):
            feed.on(intake.on(event))
            del event  # it may hold a result with its weights, and the next one can take hours
        metrics.update()
    work.features_left = extraction.missing


def _in_turn(
    extraction: Extraction, units: Sequence[Unit], trainer: Trainer, feed: Feed, watch: Watch
) -> Iterator[Event]:
    """The events of all units. Units that need features are submitted when these are available.

    The caller must handle an event before it requests the next one.
    """
    session = trainer.session
    ready, waiting = extraction.split(units)

    def go_on(added: list[Unit]) -> Iterator[Event]:
        """Submit the units that can begin now."""
        nonlocal waiting
        watch.add(added)
        yield from extraction.without([*waiting, *added])
        session.place(extraction.vectors())
        ready, waiting = extraction.split([*waiting, *added])
        trainer.submit(ready)

    session.place(extraction.networks)
    session.place(extraction.vectors())
    trainer.submit([*(Unit((task,)) for task in extraction.missing), *ready])
    while True:
        for event in session.events():
            yield event
            changed = isinstance(event.task, FeatureTask) and extraction.on(event)
            del event
            if (added := feed.take()) or changed:
                yield from go_on(added)
        if not (added := feed.take()):
            return
        yield from go_on(added)  # they followed from tasks whose features were lost


class WorkerShares:
    """The share of all workers that a task occupies: 1 / (the number of tasks with these resources that can run at
    once)."""

    def __init__(self, units: Sequence[Unit], executor: Executor, most: int | None) -> None:
        self._executor, self._most = executor, most or len(units)
        self._shares: dict[Resources, float] = {}
        for unit in units:
            self._of(unit.resources)

    def __call__(self, task: Task) -> float:
        return self._of(task.resources)

    def _of(self, resources: Resources) -> float:
        if resources not in self._shares:  # also for tasks that are submitted later
            self._shares[resources] = 1 / max(min(self._executor.slots(resources), self._most), 1)
        return self._shares[resources]


def seconds_to_quorum(plan: Plan, work: JobProgress, *, need: int, share: WorkerShares) -> float:
    """Estimated seconds of training until `need` members have at least one fold, if the fastest members run first."""
    firsts = [min(plan.of(label), key=round_of) for label in plan.labels]
    missing = [task for task in firsts if task.key not in work.fits and task.key not in work.failures]
    waiting = sorted((work.estimates.seconds(task), share(task)) for task in missing)
    present = sum(task.key in work.fits for task in firsts)
    before = [(work.estimates.seconds(task), share(task)) for task in work.features_left]
    return makespan([], [*before, *waiting[: max(need - present, 0)]])


def _missing_predictions(plan: Plan, work: JobProgress, results: Results) -> Iterator[PredictTask]:
    """Take the test predictions of reused fit tasks from the store, and yield a task for each one that is missing."""
    if plan.context.test is None:
        return
    for key, fit in work.fits.items():
        task = PredictTask(predict_key(fit.task.result_key, plan.context.test), fit.task)
        proba = results.prediction(task)
        if proba is None:
            yield task
        else:
            work.tests[key] = proba
