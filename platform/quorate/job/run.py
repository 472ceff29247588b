"""One job from its spec to the bundle, readable from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from quorate.bundle import needs, read_manifest
from quorate.data.source import OpenedData
from quorate.ensemble.assemble import Assembly, assemble
from quorate.ensemble.combiner import combiner_of
from quorate.ensemble.dependence import Dependence
from quorate.ensemble.quorum import QuorumError, check_quorum
from quorate.errors import Interrupted
from quorate.execution.base import Executor
from quorate.execution.budget import Budget
from quorate.execution.interrupt import StopRequest
from quorate.execution.workplace import Workplace
from quorate.job.budget import (
    TRAIN_DEV,
    Attendance,
    ClosingTime,
    budget_part,
    leave_out_beginnings,
    seconds_after_training,
    train_dev_seconds,
    turnout,
    what_was_needed,
    with_ending,
    workers,
)
from quorate.job.bundle_files import member_sizes, pack_bundle
from quorate.job.features import BackboneError, summaries
from quorate.job.final_files import write_board, write_end
from quorate.job.leaderboard import make_board
from quorate.job.production import from_folds, refit_plan, refitted
from quorate.job.tracker import Tracker
from quorate.job.train_dev import score_train_dev
from quorate.job.training import JobProgress, find_finished, train, units_left
from quorate.plan.identity import derive_seed, digest
from quorate.plan.opening import open_data
from quorate.plan.planner import PlanError, backbone_of, make_plan, recipes_of
from quorate.plan.tasks import JobData, Plan
from quorate.report.pictures import draw
from quorate.report.progress import Screen
from quorate.report.run_report import REPORT, RunInputs, seconds_needed, write_report_and_worth
from quorate.results.oof import OofPredictions, gather
from quorate.results.results import Results
from quorate.runs.crashes import ended_without_a_word, recorded
from quorate.runs.folder import RunFolder
from quorate.spec import Job, JobSpec
from quorate.spec.file import SpecError
from quorate.store import Store
from quorate.tracking.journal import NAME as JOURNAL
from quorate.tracking.journal import Journal
from quorate.tracking.shipper_process import Shipper, default_uri, start_shipper

_WAIT_FOR_SHIPPER = 30.0
"""Most seconds that MLflow may take to get the last records."""


class JobFailed(RuntimeError):
    """The job cannot give an ensemble; the message says what is missing."""


@dataclass(frozen=True)
class Options:
    """Where a job runs and keeps its work."""

    store: Store
    runs: Path
    executor: Literal["ray", "local"]
    address: str | None = None
    began: float | None = None
    """When the command began, on the clock of `time.monotonic`: a budget counts from there."""
    pictures: bool = True
    """Whether the run folder gets its plots; not worth their time where nobody keeps the folder."""


def run_job(
    job: Job,
    options: Options,
    *,
    console: Console,
    stop: StopRequest,
    data: OpenedData | None = None,
    errors: Console | None = None,
) -> dict[str, Any]:
    """Run a job and give its leaderboard; `data` are rows in memory, used instead of what the job names.

    What fails is printed to `errors`, to `console` when left out. Raises `SpecError` for input that cannot
    be used, `JobFailed` where the quorum is not reached, `Interrupted` when it was asked to stop; what was
    finished until then is kept.
    """
    started = time.monotonic()
    spec, results = job.spec, Results(options.store)
    budget = _budget(spec, options.began if options.began is not None else started)
    ending = ClosingTime(budget)
    screen = Screen(console, errors or console)
    context = open_data(job, partial(_say_note, console), data)
    opening = time.monotonic() - started
    with _workplace(options, stop, urgent=budget is not None) as place:
        plan = plan_job(job, context, place)
        work = JobProgress(fits=find_finished(plan, results))
        if (crashed := ended_without_a_word(options.runs, spec.name)) is not None:
            console.print(crashed, style="yellow", markup=False, highlight=False, soft_wrap=True)
        folder = RunFolder.create(options.runs, job)
        _say_plan(console, plan, work, folder)
        with recorded(folder), _tracked(job, plan, folder, console, ending) as mirror:
            mirror.reused(work.fits.values())
            keys = [task.key for task in plan.tasks]
            with options.store.lease(_job_key(plan), waiting=lambda holder: _say_waiting(console, holder), keys=keys):
                meanwhile = find_finished(plan, results, but=work.fits)
                work.fits |= meanwhile
                mirror.reused(meanwhile.values())
                if units := units_left(plan, work, results):
                    ending.measure("local", _used(budget) - opening)
                    if place.starts_ray and ending.is_too_short_for_ray(workers(plan, place.slots, spec.execution)):
                        console.print("little time: the members are trained in this process, without Ray")
                        place.stay_in_this_process()
                    executor = place.executor()
                    stop.attach(executor)
                    if budget is not None:
                        ending.measure(executor.name, budget.used() - opening)
                        budget.reserve = seconds_after_training(spec, plan, budget, ending, reused=len(work.fits))
                        budget.startup = budget.used()
                    try:
                        train(units, plan, work, results, executor, mirror, folder, spec.execution, screen, budget)
                    except BackboneError as error:
                        raise _named(job, plan, error) from None
            stop.attach(None)
            stop.check()

            leave_out_beginnings(plan, work)
            there = turnout(plan, work, spec.quorum)
            gathered = gather(plan, work.fits, work.tests, counting=there.folds)
            members = _counted(job, plan, work, there, place, budget)
            combining = time.monotonic()
            assembly = _assemble(job, plan, gathered, members)
            combining = time.monotonic() - combining
            combination = assembly.combination.among(members, len(plan.labels))
            production = from_folds(plan, work, best=spec.production.best)
            if spec.production.refit:
                weighted = [plan.labels[m] for m in np.flatnonzero(combination.weights)]
                again = refit_plan(spec, plan, work, weighted, place.hardware())
                later = JobProgress(fits=find_finished(again, results))
                console.print(f"on all rows: {_count(len(again.tasks), 'fit task')}, {len(later.fits)} reused")
                mirror.reused(later.fits.values())
                if units := units_left(again, later, results):
                    stop.attach(executor := place.executor())
                    train(units, again, later, results, executor, mirror, folder, spec.execution, screen)
                    stop.attach(None)
                    stop.check()
                production = refitted(plan, again, production, later, weighted)
            if production.note:
                console.print(production.note, markup=False, highlight=False)
                tested = np.array([production.tested(label) for label in plan.labels])
                gathered = replace(gathered, test=production.test(plan.labels, gathered.test), tested=tested)
            answered = gathered.test is not None and gathered.tested[combination.weights > 0].all()
            test = combination.apply(gathered.test) if gathered.test is not None and answered else None
            if assembly.reason:
                console.print(assembly.reason, style="yellow", markup=False, highlight=False)

            combined = [plan.labels[m] for m in members]
            board = make_board(spec, plan, work, gathered, assembly, combination, test, combined)
            board["ensemble"]["production"] = production.note or None
            board |= {"run": folder.name, "seconds": round(time.monotonic() - started, 2)}
            if budget is not None:
                board["budget"] = budget_part(budget, plan, work, there, gathered.tested)
            bundle = pack_bundle(folder.path / "bundle", spec, plan, production, assembly, combination, board, results)
            for need in needs(read_manifest(bundle)):
                console.print(need, style="yellow", markup=False, highlight=False, soft_wrap=True)
            if context.train_dev is not None and ending.has_time_for(TRAIN_DEV, train_dev_seconds(plan)):
                board = score_train_dev(board, bundle, context.train_dev, folder.path)
            write_end(folder, board, plan, gathered, assembly, test)
            if options.pictures:
                mirror.pictures(ending.pictures(draw(folder, plan, work.fits)))
            reported = options.pictures and ending.has_time_for(REPORT, seconds_needed(combining))
            if budget is not None:
                write_board(folder, board := with_ending(board, ending))
            mirror.finished(board, folder, bundle, member_sizes(production, results))
            if reported:
                known = RunInputs.of(spec, context.train, context.test)
                path = folder.path / REPORT
                report, worth = write_report_and_worth(folder, path, known, quick=budget is not None)
                mirror.report(report)
                mirror.worth(worth, board)
    return board


def plan_job(job: Job, context: JobData, place: Workplace) -> Plan:
    """The plan for what the job runs on; raises `SpecError` for members that could never run there."""
    try:
        plan = make_plan(job.spec, context, place.hardware())
    except PlanError as error:
        raise job.error((("members", error.member), str(error))) from None
    if job.spec.quorum.members > len(plan.labels):
        needed = f"{job.spec.quorum.members} members are needed, and the job has {len(plan.labels)}"
        raise job.error((("quorum", "members"), needed))
    too_large = {task.member: task.resources for task in plan.tasks if not place.slots(task.resources)}
    lacking = {task.backbone: task.resources for task in plan.features if not place.slots(task.resources)}
    for member, backbone in ((task.member, backbone_of(task.params)) for task in plan.tasks):
        if backbone is not None and backbone in lacking:
            too_large[member] = lacking[backbone]
    if too_large:
        raise job.error(
            *(
                (("members", name), f"asks for {resources}, more than any node has; lower cpus, gpus or memory")
                for name, resources in too_large.items()
            )
        )
    return plan


def _named(job: Job, plan: Plan, error: BackboneError) -> SpecError:
    """A frozen network that is not to be had, at the members that learn from it."""
    names = dict.fromkeys(task.member for task in plan.tasks if backbone_of(task.params) == error.backbone)
    return job.error(*((("members", name, "features"), str(error)) for name in names))


def _used(budget: Budget | None) -> float:
    return budget.used() if budget is not None else 0.0


def _budget(spec: JobSpec, began: float) -> Budget | None:
    seconds = spec.execution.budget
    return Budget(seconds, began) if seconds is not None else None


def _counted(
    job: Job,
    plan: Plan,
    work: JobProgress,
    there: Attendance,
    place: Workplace,
    budget: Budget | None,
) -> list[int]:
    """Positions of the members that count; raises `JobFailed` without a quorum, unless time alone is to blame."""
    try:
        check_quorum(counted=there.members, need=1 if there.short else there.quorum, names=plan.labels)
    except QuorumError as error:
        reasons = sorted({f"{event.task}: {event.status}: {event.message}" for event in work.failures.values()})
        reasons += [f"{event.task}: out of time: {event.message}" for event in work.late.values()]
        if budget is not None and work.late:
            reasons.append(what_was_needed(job.spec, plan, work, place.executor(), budget))
        raise JobFailed("\n  ".join([str(error), *dict.fromkeys(reasons)])) from None
    return [int(i) for i in np.flatnonzero(there.members)]


def _assemble(job: Job, plan: Plan, gathered: OofPredictions, members: list[int]) -> Assembly:
    labels = [plan.labels[i] for i in members]
    try:
        return assemble(
            proba=gathered.proba[members],
            mask=gathered.mask[members],
            y=plan.context.train.y,
            combiner=combiner_of(job.spec.combiner, recipes=recipes_of(job.spec, labels)),
            seed=derive_seed(job.spec.seed, "combiner"),
            names=labels,
            dependence=Dependence(plan.context.train.groups, plan.context.train.time),
            learnable=gathered.learnable,
        )
    except ValueError as error:
        raise JobFailed(f"the members cannot be combined: {error}") from None


def _job_key(plan: Plan) -> str:
    return digest(job=[task.key for task in plan.tasks])


def _workplace(options: Options, stop: StopRequest, *, urgent: bool) -> Workplace:
    """Where the job runs; what runs there is told to stop when a signal comes."""

    def opened(executor: Executor | None) -> None:
        stop.install()  # Ray has taken the signals

    return Workplace(options.executor, options.address, opened, urgent=urgent)


@contextmanager
def _tracked(job: Job, plan: Plan, folder: RunFolder, console: Console, ending: ClosingTime) -> Iterator[Tracker]:
    """The journal of the run, closed with the job's status, and the process that sends it to MLflow."""
    tracking = job.spec.tracking
    journal = Journal(folder.path / JOURNAL, experiment=tracking.experiment)
    mirror = Tracker(journal, job.spec, plan, run=folder.name)
    shipper = start_shipper(folder.path, default_uri()) if tracking.enabled else None
    try:
        yield mirror
    except Interrupted:
        mirror.close("KILLED")
        raise
    except BaseException:
        mirror.close("FAILED")
        raise
    mirror.close("FINISHED")
    if shipper is not None:
        _say_tracking(console, shipper, most=max(0.0, min(ending.left(), _WAIT_FOR_SHIPPER)))


def _say_plan(console: Console, plan: Plan, work: JobProgress, folder: RunFolder) -> None:
    total, reused = len(plan.tasks), len(work.fits)
    members, folds = _count(len(plan.labels), "member"), _count(len(plan.context.folds), "fold")
    counts = f"{members} x {folds} = {_count(total, 'fit task')}, {reused} reused"
    console.print(f"{plan.context.folds.reason}; {counts}", highlight=False)
    for part in summaries(plan, lambda task: False):
        line = f"features of {part.backbone.arch}: {part.rows:,} {part.images}, computed once for all members and folds"
        console.print(line, markup=False, highlight=False)
    console.print(f"run folder: {folder.path}", markup=False, highlight=False, soft_wrap=True)


def _say_note(console: Console, note: str) -> None:
    console.print(note, style="yellow", markup=False, highlight=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)


def _say_waiting(console: Console, holder: str) -> None:
    line = f"{holder} runs this very job in the same store; waiting for it"
    console.print(line, style="yellow", markup=False, highlight=False)


def _say_tracking(console: Console, shipper: Shipper, *, most: float) -> None:
    """Wait for the shipper while it gets on, and say what it has left."""
    still = 3.0 if shipper.uri.startswith("http") else 10.0  # a file is always there, if slow
    deadline, moved, pending = time.monotonic() + most, time.monotonic(), shipper.pending()
    while pending and time.monotonic() < min(deadline, moved + still):
        if shipper.wait(0.2):
            break
        if (now := shipper.pending()) != pending:
            moved, pending = time.monotonic(), now
    if left := shipper.pending():
        console.print(
            f"MLflow: {left} records not yet at {shipper.uri}; if it stays away: quorate sync {shipper.run_folder}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    for refused in shipper.refused():
        line = f"MLflow refused {refused['what']}: {refused['reason']}"
        console.print(line, style="yellow", markup=False, highlight=False)
