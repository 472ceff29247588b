"""`quorate status`, `logs`, `stop` and `fetch`: look after the jobs that were submitted to a cluster."""

from __future__ import annotations

import json as json_format
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quorate.cli.console import make_console
from quorate.cli.job_result import show_board
from quorate.cli.options import AddressOption, JsonOption
from quorate.json_text import json_text

if TYPE_CHECKING:
    from rich.console import Console

    from quorate.execution.ray.job_server import JobServer, SubmittedJob
    from quorate.job.followed_job import FollowedJob

JobArgument = Annotated[str, typer.Argument(metavar="ID", help="The id of a submitted job.", show_default=False)]


def status(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="The id of a submitted job. Default: list all.", show_default=False),
    ] = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """List the jobs that were submitted to a cluster, or show the progress of one."""
    server = _server(address)
    from quorate.job.submission import submitted_job, submitted_jobs

    if name is None:
        jobs = submitted_jobs(server)
        if json:
            typer.echo(json_text([_facts(job) for job in jobs]))
            return
        _print_jobs(jobs, server)
        return
    facts = _facts_of_one(server, submitted_job(server, name))
    if json:
        typer.echo(json_text(facts))
        return
    console = make_console()
    for key, value in facts.items():
        if value not in (None, ""):
            console.print(f"{key.replace('_', ' '):>9}  {value}", highlight=False, soft_wrap=True)


def logs(
    name: JobArgument,
    member: Annotated[str | None, typer.Option(help="Print the logs of this member.")] = None,
    fold: Annotated[int | None, typer.Option(min=1, help="Only that of this fold; needs --member.")] = None,
    address: AddressOption = None,
) -> None:
    """Print what the driver of a submitted job has printed, or the logs of a member."""
    from quorate.errors import UserError

    if fold is not None and member is None:
        raise UserError("--fold needs --member: the logs are those of a member's folds")
    server = _server(address)
    from quorate.job.submission import submitted_job
    from quorate.job.submitted_run import log_names, text_of

    job = submitted_job(server, name)
    if member is None:
        typer.echo(server.log(job).decode(errors="replace"), nl=False)
        return
    _, files = _run_of(server, job)
    names = files.names()
    chosen = log_names(names, member, fold)
    if not chosen:
        there = ", ".join(Path(other).name for other in names if other.startswith("logs/")) or "none yet"
        what = f"{member}, fold {fold}" if fold is not None else member
        raise UserError(f"{name} has no log of {what}; its logs are: {there}")
    for other in chosen:
        if len(chosen) > 1:
            typer.echo(f"== {Path(other).name}")
        typer.echo(text_of(files, other), nl=False)


def stop(name: JobArgument, address: AddressOption = None) -> None:
    """Stop a submitted job: its tasks write checkpoints, and it ends within ten seconds."""
    server = _server(address)
    from quorate.job.submission import stop_job, submitted_job

    job = submitted_job(server, name)
    if not job.is_active:
        typer.echo(f"{name} has ended already ({job.state})")
        return
    job = stop_job(server, job)
    if job.state == "finished":
        typer.echo(f"{name} finished before it could be stopped")
    else:
        typer.echo(f"stopped {name}; finished tasks and checkpoints are kept; submit the job again to continue")


def fetch(
    name: JobArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="The folder for the run. Default: runs.")
    ] = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Copy the run of a submitted job to this machine: leaderboard, report, logs and bundle."""
    server = _server(address)
    from quorate.errors import UserError
    from quorate.job.submission import submitted_job
    from quorate.job.submitted_run import fetch_run
    from quorate.runs.folder import BOARD
    from quorate.runs.history import size_of

    job = submitted_job(server, name)
    if job.is_active:
        raise UserError(f"{name} has not ended; `quorate status {name}` shows its progress")
    run, files = _run_of(server, job)
    began = time.monotonic()
    folder = fetch_run(files, run, output or Path("runs"))
    finished = (folder / BOARD).is_file()
    if json:
        typer.echo(json_text({"run": str(folder), "finished": finished}))
        return
    from quorate.quantities import format_bytes, format_seconds

    took = format_seconds(time.monotonic() - began)
    typer.echo(f"{folder}: {format_bytes(size_of(folder))}, {took}" + ("" if finished else "; the job did not finish"))
    if finished:
        for command in (f"quorate predict FILES --run {folder}", f"quorate leaderboard --run {folder}"):
            typer.echo(f"  {command}")


def say_end(
    server: JobServer, job: SubmittedJob, end: FollowedJob, console: Console, *, followed: bool, as_json: bool
) -> None:
    """Print how a submitted job ended, with its error or leaderboard unless its output was `followed`; exits with the
    code of the job."""
    if as_json:
        facts = {"id": job.id, "exit_code": end.code, "message": end.message, "error": end.error, "run": end.run}
        found = {} if end.board is None else {"leaderboard": json_format.loads(end.board.to_text())}
        typer.echo(json_text(facts | found))
        raise typer.Exit(end.code)
    if end.error and not followed:
        console.print(f"error: {end.error}", markup=False, highlight=False, soft_wrap=True)
    style = "red" if end.code else None
    console.print(end.message, style=style, markup=False, highlight=False, soft_wrap=True)
    if end.board is not None and not followed:
        show_board(end.board, end.run, console, console, as_json=False, on_this_machine=False)
    if end.run and end.code == 0:
        console.print(f"run: {end.run}", highlight=False, soft_wrap=True)
        console.print(f"  quorate fetch {job.id} --address {server.address}", highlight=False, soft_wrap=True)
    raise typer.Exit(end.code)


def _server(address: str | None) -> JobServer:
    """Connect; call it before imports that take seconds, so that a refusal comes at once."""
    from quorate.execution.ray.dashboard import address_of
    from quorate.execution.ray.job_server import JobServer

    return JobServer(address_of(address))


def _run_of(server: JobServer, job: SubmittedJob) -> Any:
    from quorate.errors import UserError
    from quorate.job.submitted_run import files_of_run, shared_run

    run = shared_run(server, job)
    if run is None:
        raise UserError(f"{job.id} has no run: its driver has not begun it ({job.state})")
    return run, files_of_run(server, job, run)


def _print_jobs(jobs: list[SubmittedJob], server: JobServer) -> None:
    from quorate.quantities import format_seconds
    from quorate.report.columns import TableColumn, fit

    console = make_console()
    if not jobs:
        console.print(f"no jobs of Quorate at {server.address}", highlight=False, soft_wrap=True)
        return
    columns = [
        TableColumn("job", [job.id for job in jobs], justify="left"),
        TableColumn("state", [job.state for job in jobs], justify="left"),
        TableColumn("started", [_time(job.started)[:16] for job in jobs], justify="left"),
        TableColumn("took", [format_seconds((job.ended or time.time()) - job.started) for job in jobs]),
    ]
    console.print(fit(columns, width=console.width, box=None, padding=(0, 1, 0, 0)).table)


def _facts(job: SubmittedJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "started": _time(job.started),
        "ended": None if job.ended is None else _time(job.ended),
        "exit_code": job.exit_code,
    }


def _facts_of_one(server: JobServer, job: SubmittedJob) -> dict[str, Any]:
    from quorate.errors import UserError
    from quorate.job.submitted_following import ended_job, progress_without_run
    from quorate.job.submitted_run import files_of_run, progress_of_run, shared_run
    from quorate.runs.copy import JUST_JOURNAL
    from quorate.store import StoreUnavailable

    run = shared_run(server, job)
    progress = progress_without_run(job) if job.is_active else None
    if run is not None:
        try:
            progress = str(progress_of_run(files_of_run(server, job, run, JUST_JOURNAL)))
        except (UserError, StoreUnavailable) as error:  # such as missing credentials of its bucket
            progress = f"unknown, because its run cannot be read here: {error}"
    end = None if job.is_active else ended_job(server, job)
    return _facts(job) | {
        "run": run.address if run is not None else None,
        "progress": progress,
        "message": end.message if end is not None else None,
        "error": end.error or None if end is not None else None,
    }


def _time(seconds: float) -> str:
    """Local time, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
