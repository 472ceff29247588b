"""`quorate train`: run a job, or show its plan."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.clock import began
from quorate.cli.console import end_interrupted, make_console
from quorate.cli.job_result import say_elsewhere, show_board
from quorate.cli.options import (
    HubOption,
    JsonOption,
    RunsOption,
    StoreOption,
    check_cluster,
    check_executor,
    overrides_of,
    store_uri,
)

if TYPE_CHECKING:
    from quorate.cli.job_result import Consoles
    from quorate.execution.interrupt import StopRequest
    from quorate.execution.ray.early_start import StartingRay
    from quorate.job.run import Options
    from quorate.spec import Job, PathLookup


def train(
    job_file: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)],
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a value, e.g. members.cnn.epochs=3; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and exit.")] = False,
    executor: Annotated[
        str | None,
        typer.Option(metavar="ray|local", help="Where fit tasks run. Default: execution.executor of the job file."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster. Default: start Ray on this machine.")
    ] = None,
    store: StoreOption = None,
    runs_at: RunsOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="If the job already runs elsewhere, show its progress until it ends.")
    ] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Override the job's seed.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Time limit of the job, e.g. 20m. The job then ends with the best ensemble so far."
        ),
    ] = None,
    hub: HubOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and the leaderboard.")] = False,
    json: JsonOption = False,
) -> None:
    """Train an ensemble. Finished fit tasks are reused, and interrupted ones continue from their checkpoints."""

    if executor == "ray" or (address is not None and executor is None):
        check_cluster(address)  # before the imports, which take seconds
    from quorate.errors import Interrupted
    from quorate.execution.interrupt import StopRequest

    since, shown = began(), make_console(stderr=json)
    # `shown` prints the result, `said` prints progress.
    said, errors = (make_console(quiet=True), make_console(stderr=True)) if quiet else (shown, shown)
    stop = StopRequest()
    stop.install()
    try:
        job = load(job_file, override or [], executor, seed, budget, hub=hub)
        check_executor(job, address)
        if dry_run:
            from quorate.cli.job_plan import show_plan

            show_plan(job, store or store_uri(), address, shown, as_json=json)
            return
        with _starting(job, address) as starting:
            from quorate.job.lease import JobRunsElsewhere
            from quorate.job.run import Options
            from quorate.runs.lookup import runs_place
            from quorate.store import open_store

            place = runs_place()
            place.check()
            kept_at = open_store(store or store_uri())
            options = Options(kept_at, place, job.spec.execution.executor, address, since, starting=starting)
            try:
                run_and_show(job, options, (shown, said, errors), stop, as_json=json)
            except JobRunsElsewhere as elsewhere:
                say_elsewhere(elsewhere, follow, (shown, said, errors), stop, as_json=json)
    except Interrupted as interrupted:
        end_interrupted(errors, interrupted, kept="finished tasks and checkpoints")


def load(
    job_file: Path,
    overrides: list[str],
    executor: str | None,
    seed: int | None,
    budget: str | None,
    lookup: PathLookup | None = None,
    *,
    hub: str | None = None,
) -> Job:
    """Read a job file with the options that override it; `lookup` finds the files that it names."""
    from quorate.spec import load_job
    from quorate.spec.file import Override

    given = overrides_of({"executor": executor, "seed": seed, "budget": budget, "hub": hub})
    return load_job(job_file, [*map(Override, overrides), *given], lookup)


def _starting(job: Job, address: str | None) -> AbstractContextManager[StartingRay | None]:
    """A local Ray that starts while the modules of a job are imported; not under a budget, which may be too short."""
    from quorate.execution.ray.early_start import StartingRay

    where = job.spec.execution
    local = (address or os.environ.get("RAY_ADDRESS") or "local") == "local"
    return StartingRay() if where.executor == "ray" and local and where.budget is None else nullcontext()


def run_and_show(
    job: Job,
    options: Options,
    consoles: Consoles,
    stop: StopRequest,
    *,
    as_json: bool,
    on_this_machine: bool = True,
) -> None:
    """Run a job and print its leaderboard; ends with an exit code other than 0 if the job fails.

    `on_this_machine` says whether the reader of the output can use the run with commands here.
    """
    from quorate.execution.stream import at_work
    from quorate.job.run import JobFailed, run_job
    from quorate.runs.errors import RunNotSent

    console, said, errors = consoles
    code, before = 0, at_work()
    try:
        if any(params.search is not None for params in job.spec.members.values()):
            from quorate.search.members import run_searched_job

            board = run_searched_job(job, options, console=said, stop=stop, errors=errors)
        else:
            board = run_job(job, options, console=said, stop=stop, errors=errors)
    except JobFailed as failure:
        errors.print(f"the job failed: {failure}", style="red", markup=False, highlight=False, soft_wrap=True)
        code = 1
    except RunNotSent as failure:
        errors.print(str(failure), style="red", markup=False, highlight=False, soft_wrap=True)
        code = 1
    else:
        address = f"{options.runs.address}/{board.run}"
        show_board(board, address, console, said, as_json=as_json, on_this_machine=on_this_machine)
    if at_work() - before:  # threads that still run can crash the interpreter at exit, as with SVC and torch
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        raise typer.Exit(code)
