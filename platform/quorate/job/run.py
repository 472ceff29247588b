"""Run one job, from its spec to the bundle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

from rich.console import Console

from quorate.data.decoding import Decoder
from quorate.data.source import OpenedData
from quorate.data.stored_shards import stored_shards
from quorate.execution.base import Executor
from quorate.execution.budget import Budget
from quorate.execution.interrupt import StopRequest
from quorate.execution.ray.early_start import StartingRay
from quorate.execution.workplace import Workplace
from quorate.job.backbone_choice import choose_backbones, open_choices
from quorate.job.budget import ClosingTime, avoid_slow_start, leave_out_beginnings, open_executor
from quorate.job.cluster_tags import cluster_tags
from quorate.job.composition import compose
from quorate.job.ensemble import JobFailed
from quorate.job.features import summaries
from quorate.job.final_files import finish
from quorate.job.fits import FitRunner
from quorate.job.growth import Growth
from quorate.job.lease import job_lease
from quorate.job.outages import StoreOutages
from quorate.job.outcome import JobOutcome
from quorate.job.planning import plan_job
from quorate.job.production import production_models
from quorate.job.progress import JobProgress
from quorate.job.session import JobSession
from quorate.job.tracker import Tracker
from quorate.job.training import Trainer
from quorate.plan.opening import open_data
from quorate.plan.tasks import JobData, Plan, Resources
from quorate.report.backbones import ranking_notes, ranking_table
from quorate.report.progress import Screen
from quorate.results.results import Results
from quorate.runs.backbone_ranking import BackboneRanking
from quorate.runs.crashes import ended_without_a_word, recorded
from quorate.runs.folder import RunFolder
from quorate.runs.job_record import JOB_FILE
from quorate.runs.leaderboard import Leaderboard
from quorate.runs.logs import RunLogs
from quorate.runs.place import RunsPlace
from quorate.spec import Job, record_of
from quorate.spec.hub_policy import hub_asked
from quorate.store import Lease, Store
from quorate.tracking.journal import NAME as JOURNAL
from quorate.tracking.journal import Journal
from quorate.tracking.shipper_process import Shipper, default_uri, start_shipper

__all__ = ["JobFailed", "Options", "run_job"]

_WAIT_FOR_SHIPPER = 30.0
"""Maximum number of seconds to wait until MLflow has received the last records (an assumption)."""


@dataclass(frozen=True)
class Options:
    """Where a job runs and where it keeps its work."""

    store: Store
    runs: RunsPlace
    executor: Literal["ray", "local"]
    address: str | None = None
    began: float | None = None
    """Start of the command, and so of its budget, on the clock of `time.monotonic`."""
    wait: bool = False
    """Whether to wait if another process runs the same job; otherwise `JobRunsElsewhere` is raised."""
    announce: Callable[[RunFolder], None] = lambda folder: None
    """Called with the folder of the run when it exists."""
    starting: StartingRay | None = None
    """A local Ray that is already being started; by default Ray is started when the first task needs it."""
    pictures: bool = True
    """Whether to draw the plots and write the report; false if the run folder is removed afterwards."""


def run_job(
    job: Job,
    options: Options,
    *,
    console: Console,
    stop: StopRequest,
    data: OpenedData | None = None,
    errors: Console | None = None,
) -> Leaderboard:
    """Run a job and return its leaderboard; `data` are rows in memory that replace the data that the job names.

    Failures are printed to `errors`, by default to `console`. Raises `SpecError` for input that cannot be used,
    `JobFailed` if the quorum is not reached, and `Interrupted` if a signal stopped the job. Finished work is kept.
    """
    started = time.monotonic()
    budget = _budget(job, options, started)
    closing = ClosingTime(budget)
    with (
        hub_asked(job.spec.execution.hub),
        _workplace(job, options, console, stop, urgent=budget is not None) as place,
        _decoder(place, options.store, console) as decoder,
    ):
        rows = open_data(job, partial(_say_note, console), data, decoder)
        runner = FitRunner(place, options.store, stop, partial(_say_note, errors or console))
        job, ranking = _with_backbones(job, rows, runner, closing, time.monotonic() - started, console)
        opening = time.monotonic() - started
        plan = plan_job(job, rows, place)
        with (
            job_lease(options.store, plan, stop, wait=options.wait, say=partial(_say_note, console)) as lease,
            _run(job, ranking, options, lease, console, errors or console) as folder,
            _tracked(job, plan, place, folder, console, closing, stop) as tracker,
        ):
            results = Results(options.store)
            work = JobProgress.found(plan, results)
            plan = work.corrected(plan)
            _say_plan(console, plan, work, folder)
            tracker.reused(work.fits.values())
            with JobSession(stop) as session:
                logs, screen = RunLogs(folder.path), Screen(console, errors or console)
                outages = StoreOutages(partial(_say_note, errors or console), stopping=partial(_is_over, stop, budget))
                trainer = Trainer(job, place, results, tracker, logs, screen, stop, session, outages)
                opened = cache(partial(open_executor, place, job, plan, work, closing, opening, console.print))
                trainer.complete(plan, work, budget, opened)
                lease.check()
                leave_out_beginnings(plan, work)
                made, growth = compose(job, plan, work, place.executor, budget), None
                if job.spec.grow and budget is not None:
                    made, growth = Growth(trainer, work, budget, opened, lease.check, console).grow(made)
                    folder.write(JOB_FILE, record_of(made.job.spec))
                production = production_models(trainer, made.plan, work, made.ensemble.weighted, console)
                lease.check()  # without it, refits that were stopped would count as failed
            if made.ensemble.assembly.reason:
                console.print(made.ensemble.assembly.reason, style="yellow", markup=False, highlight=False)
            outcome = JobOutcome.of(made, work, production, growth)
            return finish(outcome, folder, trainer, closing, console, started=started, pictures=options.pictures)


def _with_backbones(
    job: Job, rows: JobData, runner: FitRunner, closing: ClosingTime, opening: float, console: Console
) -> tuple[Job, BackboneRanking | None]:
    """The job with a member for each frozen network that `features: best` has chosen; `opening` is the number of
    seconds that reading the data took."""
    if closing.budget is not None and (networks := [one for best in open_choices(job).values() for one in best.of]):
        closing.measure("local", closing.budget.used() - opening)
        slots = min(runner.place.slots(Resources(1, one.gpus)) for one in networks)
        avoid_slow_start(runner.place, closing, min(slots, job.spec.execution.workers or slots), console.print)
    choice = choose_backbones(job, rows, runner, closing.budget)
    if choice.ranking is not None:
        console.print(ranking_table(choice.ranking))
        for line in ranking_notes(choice.ranking):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return choice.job, choice.ranking


def _is_over(stop: StopRequest, budget: Budget | None) -> bool:
    """Whether the job is stopped or its time is used up: then it does not wait for the store."""
    return stop.requested or (budget is not None and budget.left() <= 0)


def _budget(job: Job, options: Options, started: float) -> Budget | None:
    seconds = job.spec.execution.budget
    began = options.began if options.began is not None else started
    return Budget(seconds, began) if seconds is not None else None


@contextmanager
def _run(
    job: Job, ranking: BackboneRanking | None, options: Options, lease: Lease, console: Console, errors: Console
) -> Iterator[RunFolder]:
    """Create the folder of the run, and keep the run in its place."""
    runs = options.runs
    if (crashed := ended_without_a_word(runs.work, job.spec.name)) is not None:
        _say_note(console, crashed)
    folder = runs.create(job)
    if ranking is not None:
        ranking.write(folder)
    lease.say(folder.address)
    options.announce(folder)
    with runs.kept(folder, partial(_say_note, errors)), recorded(folder):
        yield folder


def _workplace(job: Job, options: Options, console: Console, stop: StopRequest, *, urgent: bool) -> Workplace:
    """The workplace of the job; a signal stops the work that runs there."""

    def opened(executor: Executor | None) -> None:
        stop.install()  # Ray has replaced the signal handlers

    wait, say = job.spec.execution.wait_for_nodes, partial(_say_note, console)
    return Workplace(
        options.executor,
        options.address,
        opened,
        urgent=urgent,
        wait_for_nodes=wait,
        say=say,
        starting=options.starting,
    )


def _decoder(place: Workplace, store: Store, console: Console) -> AbstractContextManager[Decoder]:
    """Where pictures are decoded; the machines of a cluster share what is decoded through the store."""
    return stored_shards(place, store, partial(_say_note, console)) if place.is_remote else nullcontext(place)


@contextmanager
def _tracked(
    job: Job,
    plan: Plan,
    place: Workplace,
    folder: RunFolder,
    console: Console,
    closing: ClosingTime,
    stop: StopRequest,
) -> Iterator[Tracker]:
    """Open the journal of the run and start the process that sends it to MLflow; close it with the job's status."""
    tracking = job.spec.tracking
    journal = Journal(folder.path / JOURNAL, experiment=tracking.experiment)
    tracker = Tracker(journal, job.spec, plan, run=folder.name, place=cluster_tags(place))
    shipper = start_shipper(folder.path, default_uri()) if tracking.enabled else None
    try:
        yield tracker
    except BaseException:
        if stop.signum is None:
            tracker.close("FAILED")
        else:  # if the signal came from a closed terminal, writing to it fails too
            tracker.close("KILLED", exit_code=128 + stop.signum)
        raise
    tracker.close("FINISHED")
    if shipper is not None:
        _say_tracking(console, shipper, most=max(0.0, min(closing.left(), _WAIT_FOR_SHIPPER)))


def _say_plan(console: Console, plan: Plan, work: JobProgress, folder: RunFolder) -> None:
    total, reused = len(plan.tasks), len(work.fits)
    members, folds = _count(len(plan.labels), "member"), _count(len(plan.context.folds), "fold")
    counts = f"{members} x {folds} = {_count(total, 'fit task')}, {reused} reused"
    console.print(f"{plan.context.folds.reason}; {counts}", highlight=False)
    for note in plan.notes:
        _say_note(console, note)
    for part in summaries(plan, lambda task: False):
        line = f"features of {part.backbone.arch}: {part.rows:,} {part.images}, computed once for all members and folds"
        console.print(line, markup=False, highlight=False)
    console.print(f"run folder: {folder.address}", markup=False, highlight=False, soft_wrap=True)


def _say_note(console: Console, note: str) -> None:
    console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)


def _say_tracking(console: Console, shipper: Shipper, *, most: float) -> None:
    """Wait for the shipper while it makes progress; then print the number of unsent records.

    If the server was unreachable the last time, the job does not wait for it.
    """
    # seconds without progress; a local database is always reachable, but it can be slow
    remote = shipper.uri.startswith("http")
    still = 3.0 if remote else 10.0
    deadline, moved, pending = time.monotonic() + most, time.monotonic(), shipper.pending()
    while pending and not (remote and shipper.outage()) and time.monotonic() < min(deadline, moved + still):
        if shipper.wait(0.2):
            break
        if (now := shipper.pending()) != pending:
            moved, pending = time.monotonic(), now
    if left := shipper.pending():
        console.print(
            f"MLflow: {left} records have not reached {shipper.uri} yet; to send them later: quorate sync "
            f"{shipper.run_folder}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    for refused in shipper.refused():
        line = f"MLflow refused {refused.what}: {refused.reason}"
        console.print(line, style="yellow", markup=False, highlight=False)
