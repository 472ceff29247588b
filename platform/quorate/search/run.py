"""Run a search, from the member in a job file to the record of its trials."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
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
from quorate.job.progress import JobProgress
from quorate.job.session import JobSession
from quorate.job.training import Trainer
from quorate.plan.identity import derive_seed, digest, identity_of
from quorate.plan.opening import open_data
from quorate.plan.tasks import Plan
from quorate.report.progress import Screen
from quorate.report.search_report import write_search_report
from quorate.results.results import Results
from quorate.runs.folder import RunFolder
from quorate.runs.logs import RunLogs
from quorate.runs.search_record import NAME, SearchRecord
from quorate.search.choices import choices_of
from quorate.search.closing import ClosingReserve
from quorate.search.first_trials import candidate_of, first_trials
from quorate.search.ladder import Step, steps_of
from quorate.search.plans import TrialPlans, job_of_member
from quorate.search.population import Population
from quorate.search.proposals import Candidate, Proposals
from quorate.search.recorder import SearchRecorder
from quorate.search.scores import OofScore
from quorate.search.search import Search
from quorate.search.training import TrialFeed
from quorate.search.trial import Trial
from quorate.spec import Job, MemberParams
from quorate.spec.configuration import problem_of, space_of
from quorate.spec.hub_policy import hub_asked
from quorate.spec.search import SearchSpec
from quorate.spec.space import parameters_of


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
    alone = job_of_member(job, member, written)
    seconds = job.spec.execution.budget
    budget = Budget(seconds, options.began or started) if seconds is not None else None
    with (
        hub_asked(job.spec.execution.hub),
        workplace_of(alone, options, console, stop) as place,
        decoder_of(place, options.store, console) as decoder,
    ):
        data = replace(open_data(alone, partial(say_note, console), None, decoder), test=None)
        work, score = JobProgress(), OofScore(data, spec.metric)
        plans = TrialPlans(alone, data, place, work, parameters_of(space_of(job.spec.members[member])), spec.method)
        search, steps = _open(spec, member, job.spec.members[member], written, plans, score, job.spec.seed)
        try:
            first = search.begin()
        except UserError as error:
            raise UserError(f"members.{member}.search.space: {error}") from None
        recorded = _named(job, member)
        own = [spec.model_dump(mode="json"), identity_of(written), member]
        identity = digest(
            search=[*own, data.train.fingerprint, job.spec.validation.model_dump(mode="json"), job.spec.seed]
        )
        with (
            search_lease(options.store, identity, stop, say=partial(say_note, console)) as lease,
            run_of(recorded, None, options, lease, console, errors or console) as folder,
            tracked(recorded, Plan((), data), place, folder, console, ClosingTime(budget), stop) as tracker,
        ):
            plans.track(tracker)
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
                    closing = ClosingReserve(budget, spec, data)

                    def ended(trial: Trial) -> None:
                        record.ended(trial)
                        closing.ended(trial)

                    feed = TrialFeed(search, trainer, work, ended, record.status)
                    if units := feed.begin(first):
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


def run_name(job: str, member: str) -> str:
    """The name of the runs of a search; with the date and time, it is at most 100 characters long."""
    return f"{job[:45]}-tune-{member[:30]}"


def _named(job: Job, member: str) -> Job:
    """The job as the run of its search records it."""
    members = {member: job.spec.members[member]}
    update = {"name": run_name(job.spec.name, member), "members": members}
    return replace(job, spec=job.spec.model_copy(update=update))


def _open(
    spec: SearchSpec,
    member: str,
    given: MemberParams,
    written: MemberParams,
    plans: TrialPlans,
    score: OofScore,
    seed: int,
) -> tuple[Search, tuple[Step, ...]]:
    """The search of a member and the steps of its trials; raises `UserError` if they are not possible with these
    data."""
    plans.place.prepare_import_of_ray()
    from quorate.search.schedulers import open_scheduler
    from quorate.search.searchers import open_suggester

    space, parameters, data = space_of(given), plans.parameters, plans.data
    try:
        steps = steps_of(spec, written, len(data.folds))
    except ValueError as error:
        place = "scheduler" if spec.scheduler == "pbt" else "over"
        raise UserError(f"members.{member}.search.{place}: {problem_of(error)}") from None
    first = list[Candidate]()
    if spec.portfolio:
        first = first_trials(member, written, parameters, data, trials=spec.trials, portfolio=spec.method != "grid")
    own = derive_seed(seed, member, "search")
    known = [one.point for one in first if one.point is not None]
    suggester = open_suggester(spec, space, first=known, seed=own)
    proposals = Proposals(first, suggester, partial(candidate_of, member, written, parameters, spec.method))
    scheduler = open_scheduler(spec, len(steps), seed=own)
    if spec.scheduler == "pbt":
        population = Population(
            member=member,
            trials=spec.trials,
            steps=steps,
            proposals=proposals,
            scheduler=scheduler,
            parameters=parameters,
            plan=plans,
            score=score,
            seed=own,
        )
        return population, steps
    search = Search(
        trials=spec.trials + (len(first) if spec.method == "grid" else 0),
        parallel=spec.parallel,
        steps=steps,
        proposals=proposals,
        scheduler=scheduler,
        plan=plans,
        score=score,
    )
    return search, steps


def _say_slots(
    place: Workplace, search: Search, spec: SearchSpec, steps: Sequence[Step], console: Console, resources: Any
) -> None:
    """Say if the workers would wait for each other."""
    most = place.executor().slots(resources)
    name, trials, spare = ("trials", spec.trials, 1) if spec.scheduler == "pbt" else ("parallel", spec.parallel, 2)
    at_once = trials * steps[0].folds
    if most > at_once:
        needed = -(-spare * most // steps[0].folds)
        note = (
            f"{most} fits can run at once, but {name}: {trials} gives at most {at_once}; with "
            f"search.{name}: {needed}, all workers would be busy"
        )
        say_note(console, note)


def _figures(record: SearchRecord) -> dict[str, float]:
    figures: dict[str, float] = {"trials": len(record.trials)}
    for choice in record.choices[:1]:
        known = {"best_loss": choice.loss, "best_honest_loss": choice.honest_loss}
        figures |= {name: value for name, value in known.items() if value is not None}
    return figures
