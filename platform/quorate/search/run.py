"""Run a search, from the member in a job file to the record of its trials."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from rich.console import Console

from quorate.errors import UserError
from quorate.execution.budget import Budget
from quorate.execution.interrupt import StopRequest
from quorate.execution.workplace import Workplace
from quorate.job.budget import ClosingTime
from quorate.job.environment import Options, decoder_of, run_of, say_note, tracked, workplace_of
from quorate.job.lease import search_lease
from quorate.job.outages import StoreOutages
from quorate.job.planning import plan_job
from quorate.job.progress import JobProgress
from quorate.job.session import JobSession
from quorate.job.tracker import Tracker
from quorate.job.training import Trainer
from quorate.plan.identity import derive_seed, digest, identity_of
from quorate.plan.opening import open_data
from quorate.plan.tasks import FeatureTask, FitTask, JobData, Plan
from quorate.report.progress import Screen
from quorate.report.search_report import write_search_report
from quorate.results.results import Results
from quorate.runs.folder import RunFolder
from quorate.runs.logs import RunLogs
from quorate.runs.search_record import NAME, SearchRecord
from quorate.search.choices import choices_of
from quorate.search.first_trials import candidate_of, first_trials
from quorate.search.ladder import Step, steps_of
from quorate.search.recorder import SearchRecorder
from quorate.search.scores import OofScore
from quorate.search.search import Candidate, Search
from quorate.search.training import TrialFeed
from quorate.spec import Job, MemberParams, QuorumSpec
from quorate.spec.configuration import space_of, values_in
from quorate.spec.file import SpecError
from quorate.spec.hub_policy import hub_asked
from quorate.spec.search import SearchSpec
from quorate.spec.space import parameters_of

_CLOSING_SECONDS = 3.0
"""Seconds of a budget that are kept for the choice among the trials and the record (an assumption)."""


def run_search(
    job: Job, member: str, options: Options, *, console: Console, stop: StopRequest, errors: Console | None = None
) -> tuple[SearchRecord, RunFolder]:
    """Search the parameters of a member of a job; returns the record, which is also in the folder of the run.

    Raises `UserError` for input that cannot be used, and `Interrupted` if a signal stopped the search. Finished trials
    are kept, and a search that starts again reuses them.
    """
    started, spec = time.monotonic(), job.spec.members[member].search
    assert spec is not None, "the command adds it"
    written = job.spec.members[member].model_copy(update={"search": None, "copies": 1, "vary": {}})
    alone = _alone(job, member, written)
    seconds = job.spec.execution.budget
    budget = Budget(seconds, options.began or started, reserve=_CLOSING_SECONDS) if seconds is not None else None
    with (
        hub_asked(job.spec.execution.hub),
        workplace_of(alone, options, console, stop) as place,
        decoder_of(place, options.store, console) as decoder,
    ):
        data = replace(open_data(alone, partial(say_note, console), None, decoder), test=None)
        work, plans = JobProgress(), _TrialPlans(alone, data, place)
        score = OofScore(data, spec.metric)
        recorded = _named(job, member)
        identity = digest(search=[spec.model_dump(mode="json"), identity_of(written), data.train.fingerprint, member])
        with (
            search_lease(options.store, identity, stop, say=partial(say_note, console)) as lease,
            run_of(recorded, None, options, lease, console, errors or console) as folder,
            tracked(recorded, Plan((), data), place, folder, console, ClosingTime(budget), stop) as tracker,
        ):
            plans.tracker, plans.work = tracker, work
            search, steps = _open(spec, member, job.spec.members[member], written, data, plans, score, job.spec.seed)
            record = SearchRecorder(
                recorded, member, spec, steps, search, folder, tracker, console, started, len(data.folds)
            )
            console.print(f"{data.folds.reason}; at most {spec.trials} trials by {spec.method}", highlight=False)
            console.print(f"run folder: {folder.address}", markup=False, highlight=False, soft_wrap=True)
            try:
                with JobSession(stop) as session:
                    logs, screen = RunLogs(folder.path), Screen(console, errors or console)
                    outages = StoreOutages(partial(say_note, errors or console), stopping=lambda: stop.requested)
                    results = Results(options.store)
                    trainer = Trainer(alone, place, results, tracker, logs, screen, stop, session, outages)
                    feed = TrialFeed(search, trainer, work, record.ended, record.status)
                    if units := feed.begin():
                        _say_slots(place, search, spec, steps, console, units[0].resources)
                        plan = Plan((), data, tuple(plans.features.values()))
                        trainer.run(units, plan, work, budget, place.executor, feed)
                    stop.check()
                    lease.check()
            finally:
                record.write()
            record.choices = choices_of(job, search, steps, score, data, spec)
            final = record.write()
            files = [folder.path / NAME, write_search_report(folder)]
            tracker.search_ended(
                _figures(final),
                {"quorate.search": member},
                files,
                searched=[one.path for one in final.parameters if not one.conditions],
                metric=f"oof_{spec.metric}",
            )
            return final, folder


def _alone(job: Job, member: str, params: MemberParams) -> Job:
    """The job with this member alone."""
    update = {"members": {member: params}, "quorum": QuorumSpec(), "grow": False}
    return replace(job, spec=job.spec.model_copy(update=update))


def run_name(job: str, member: str) -> str:
    """The name of the runs of a search; with the date and time, it is at most 100 characters long."""
    return f"{job[:45]}-tune-{member[:30]}"


def _named(job: Job, member: str) -> Job:
    """The job as the run of its search records it."""
    members = {member: job.spec.members[member]}
    update = {"name": run_name(job.spec.name, member), "members": members}
    return replace(job, spec=job.spec.model_copy(update=update))


@dataclass
class _TrialPlans:
    """Plans trials as members of the job."""

    job: Job
    data: JobData
    place: Workplace
    tracker: Tracker | None = None
    work: JobProgress | None = None
    features: dict[str, FeatureTask] = field(default_factory=dict)
    """The features of frozen networks that the trials learn from."""
    describe: Callable[[str, MemberParams], tuple[Mapping[str, Any], Mapping[str, str]]] | None = None

    def __call__(self, name: str, params: MemberParams) -> Sequence[FitTask]:
        try:
            plan = plan_job(_alone(self.job, name, params), self.data, self.place)
        except SpecError as error:
            raise ValueError("; ".join(problem.message for problem in error.problems)) from None
        assert self.tracker is not None and self.work is not None
        self.features |= {task.key: task for task in plan.features}
        values = self.describe(name, params) if self.describe is not None else ({}, {})
        self.tracker.trial(plan, *values)
        return self.work.corrected(plan).runs


def _open(
    spec: SearchSpec,
    member: str,
    given: MemberParams,
    written: MemberParams,
    data: JobData,
    plans: _TrialPlans,
    score: OofScore,
    seed: int,
) -> tuple[Search, tuple[Step, ...]]:
    plans.place.prepare_import_of_ray()
    from quorate.search.schedulers import open_scheduler
    from quorate.search.searchers import open_suggester

    space = space_of(given)
    parameters = parameters_of(space)
    try:
        steps = steps_of(spec, written, len(data.folds))
    except ValueError as error:
        raise UserError(f"members.{member}.search.over: {error}") from None
    first = list[Candidate]()
    if spec.portfolio:
        first = first_trials(member, written, parameters, data, trials=spec.trials, portfolio=spec.method != "grid")
    own = derive_seed(seed, member, "search")
    known = [one.point for one in first if one.point is not None]

    def describe(name: str, params: MemberParams) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        values = values_in(params, parameters)
        known = {one.path: values[one.name] for one in parameters if values.get(one.name) is not None}
        return known, {"quorate.search.method": spec.method}

    plans.describe = describe
    search = Search(
        trials=spec.trials + (len(first) if spec.method == "grid" else 0),
        parallel=spec.parallel,
        steps=steps,
        first=first,
        suggester=open_suggester(spec, space, first=known, seed=own),
        scheduler=open_scheduler(spec, len(steps), seed=own),
        candidate=lambda point: candidate_of(member, written, parameters, spec.method, point),
        plan=plans,
        score=score,
    )
    return search, steps


def _say_slots(
    place: Workplace, search: Search, spec: SearchSpec, steps: Sequence[Step], console: Console, resources: Any
) -> None:
    """Say if the workers would wait for each other."""
    most = place.executor().slots(resources)
    at_once = spec.parallel * steps[0].folds
    if most > at_once:
        needed = -(-2 * most // steps[0].folds)
        note = (
            f"{most} fits can run at once, but parallel: {spec.parallel} gives at most {at_once}; with "
            f"search.parallel: {needed}, all workers would be busy"
        )
        say_note(console, note)


def _figures(record: SearchRecord) -> dict[str, float]:
    figures: dict[str, float] = {"trials": len(record.trials)}
    for choice in record.choices[:1]:
        known = {"best_loss": choice.loss, "best_honest_loss": choice.honest_loss}
        figures |= {name: value for name, value in known.items() if value is not None}
    return figures
