"""Run one job, from its spec to the bundle."""

from __future__ import annotations

import time
from functools import cache, partial

from rich.console import Console

from quorate.data.source import OpenedData
from quorate.execution.budget import Budget
from quorate.execution.interrupt import StopRequest
from quorate.job.backbone_choice import choose_backbones, open_choices
from quorate.job.budget import ClosingTime, avoid_slow_start, leave_out_beginnings, open_executor
from quorate.job.composition import compose
from quorate.job.ensemble import JobFailed
from quorate.job.environment import Options, decoder_of, run_of, say_note, tracked, workplace_of
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
from quorate.job.training import Trainer
from quorate.plan.opening import open_data
from quorate.plan.tasks import JobData, Plan, Resources
from quorate.report.backbones import ranking_notes, ranking_table
from quorate.report.progress import Screen
from quorate.results.results import Results
from quorate.runs.backbone_ranking import BackboneRanking
from quorate.runs.folder import RunFolder
from quorate.runs.job_record import JOB_FILE
from quorate.runs.leaderboard import Leaderboard
from quorate.runs.logs import RunLogs
from quorate.spec import Job, record_of
from quorate.spec.hub_policy import hub_asked

__all__ = ["JobFailed", "Options", "run_job"]


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
    searches = budget.used() if budget is not None and options.place is not None else 0.0
    closing = ClosingTime(budget)
    with (
        hub_asked(job.spec.execution.hub),
        workplace_of(job, options, console, stop) as place,
        decoder_of(place, options.store, console) as decoder,
    ):
        rows = open_data(job, partial(say_note, console), data, decoder)
        runner = FitRunner(place, options.store, stop, partial(say_note, errors or console))
        job, ranking = _with_backbones(job, rows, runner, closing, searches + time.monotonic() - started, console)
        opening = searches + time.monotonic() - started
        plan = plan_job(job, rows, place)
        with (
            job_lease(options.store, plan, stop, wait=options.wait, say=partial(say_note, console)) as lease,
            run_of(job, ranking, options, lease, console, errors or console) as folder,
            tracked(job, plan, place, folder, console, closing, stop) as tracker,
        ):
            results = Results(options.store)
            work = JobProgress.found(plan, results)
            plan = work.corrected(plan)
            _say_plan(console, plan, work, folder)
            tracker.reused(work.fits.values())
            with JobSession(stop) as session:
                logs, screen = RunLogs(folder.path), Screen(console, errors or console)
                outages = StoreOutages(partial(say_note, errors or console), stopping=partial(_is_over, stop, budget))
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
    seconds that searches and reading the data took."""
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


def _say_plan(console: Console, plan: Plan, work: JobProgress, folder: RunFolder) -> None:
    total, reused = len(plan.tasks), len(work.fits)
    members, folds = _count(len(plan.labels), "member"), _count(len(plan.context.folds), "fold")
    counts = f"{members} x {folds} = {_count(total, 'fit task')}, {reused} reused"
    console.print(f"{plan.context.folds.reason}; {counts}", highlight=False)
    for note in plan.notes:
        say_note(console, note)
    for part in summaries(plan, lambda task: False):
        line = f"features of {part.backbone.arch}: {part.rows:,} {part.images}, computed once for all members and folds"
        console.print(line, markup=False, highlight=False)
    console.print(f"run folder: {folder.address}", markup=False, highlight=False, soft_wrap=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)
