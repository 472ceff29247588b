"""Replace the members of a job that have a `search` by the trials that their searches choose."""

from __future__ import annotations

import time
from dataclasses import replace

from rich.console import Console

from quorate.execution.interrupt import StopRequest
from quorate.job.environment import Options, say_note, workplace_of
from quorate.job.run import run_job
from quorate.registry import MEMBERS
from quorate.report.search import remarks, search_table
from quorate.runs.leaderboard import Leaderboard
from quorate.runs.search_record import SearchRecord
from quorate.search.emission import chosen_trials
from quorate.search.run import run_search
from quorate.spec import Job, MemberParams
from quorate.spec.hub_policy import hub_asked

_FOR_SEARCHES = 0.5
"""The part of a job's budget that its searches share (an assumption)."""


def run_searched_job(
    job: Job, options: Options, *, console: Console, stop: StopRequest, errors: Console | None = None
) -> Leaderboard:
    """Run the searches of a job, and then the job with the chosen trials as members, all in one workplace; raises what
    `run_job` does."""
    began = options.began if options.began is not None else time.monotonic()
    with hub_asked(job.spec.execution.hub), workplace_of(job, options, console, stop) as place:
        shared = replace(options, began=began, place=place)
        job = _searched(job, shared, began, console=console, stop=stop, errors=errors)
        return run_job(job, shared, console=console, stop=stop, errors=errors)


def _searched(
    job: Job, options: Options, began: float, *, console: Console, stop: StopRequest, errors: Console | None
) -> Job:
    """The job with the chosen trials as members; their fits are in the store, so it trains none of them again."""
    names = [name for name, params in job.spec.members.items() if params.search is not None]
    for position, name in enumerate(names):
        console.print(f"search {position + 1} of {len(names)}: {name}", style="bold", markup=False, highlight=False)
        alone = _within(job, time.monotonic() - began, _FOR_SEARCHES / len(names))
        own = replace(options, announce=lambda folder: None)
        record, _ = run_search(alone, name, own, console=console, stop=stop, errors=errors)
        console.print(search_table(record))
        for line in remarks(record):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if record.best is None:
            say_note(errors or console, f"no trial of {name} is complete, so it is trained as written")
        job = _with_trials(job, name, record)
    return job


def _within(job: Job, used: float, part: float) -> Job:
    """The job with a budget that ends after this part of its whole budget; `used` are the seconds since its start."""
    whole = job.spec.execution.budget
    if whole is None:
        return job
    execution = job.spec.execution.model_copy(update={"budget": used + part * whole})
    return replace(job, spec=job.spec.model_copy(update={"execution": execution}))


def _with_trials(job: Job, member: str, record: SearchRecord) -> Job:
    """The job with the chosen trials in the place of the member that was searched."""
    written = job.spec.members[member]
    chosen: dict[str, MemberParams] = {}
    for trial in chosen_trials(record):
        params: MemberParams = MEMBERS.get(trial.member["kind"]).Params.model_validate(trial.member)
        chosen[trial.name] = params.model_copy(update={"copies": written.copies})
    members: dict[str, MemberParams] = {}
    for name, params in job.spec.members.items():
        if name != member:
            members[name] = params
        else:
            members |= chosen or {name: params.model_copy(update={"search": None})}
    return replace(job, spec=job.spec.model_copy(update={"members": members}))
