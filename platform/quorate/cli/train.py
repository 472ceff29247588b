"""`quorate train`: run a job, or show its plan."""

from __future__ import annotations

import json as json_format
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from quorate.cli.clock import began
from quorate.cli.console import make_console
from quorate.cli.options import JsonOption, runs_folder, store_uri

if TYPE_CHECKING:
    from rich.console import Console

    from quorate.runs.leaderboard import Leaderboard
    from quorate.spec import Job


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
    store: Annotated[
        str | None,
        typer.Option(metavar="URI", help="The store of finished work. Default: QUORATE_STORE, or .quorate/store."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Override the job's seed.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Time limit of the job, e.g. 20m. The job then ends with the best ensemble so far."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and the leaderboard.")] = False,
    json: JsonOption = False,
) -> None:
    """Train an ensemble. Finished fit tasks are reused, and interrupted ones continue from their checkpoints."""

    from quorate.errors import Interrupted
    from quorate.execution.interrupt import StopRequest

    since, shown = began(), make_console(stderr=json)
    # `shown` prints the result, `said` prints progress.
    said, errors = (make_console(quiet=True), make_console(stderr=True)) if quiet else (shown, shown)
    stop = StopRequest()
    stop.install()
    try:
        job = _load(job_file, override or [], executor, seed, budget)
        _check_options(job, address)
        if dry_run:
            from quorate.cli.job_plan import show_plan

            show_plan(job, store or store_uri(), address, shown, as_json=json)
            return
        _run(job, store or store_uri(), address, (shown, said, errors), stop, since, as_json=json)
    except Interrupted as interrupted:
        errors.print(
            f"interrupted ({interrupted}); finished tasks and checkpoints are kept; run the same command to continue",
            highlight=False,
        )
        errors.file.flush()
        sys.exit(128 + interrupted.signum)


def _load(job_file: Path, overrides: list[str], executor: str | None, seed: int | None, budget: str | None) -> Job:
    from quorate.spec import load_job
    from quorate.spec.file import Override

    given = [Override(text) for text in overrides]
    for option, key, value in (
        ("executor", "execution.executor", executor),
        ("seed", "seed", seed),
        ("budget", "execution.budget", budget),
    ):
        if value is not None:
            given.append(Override(f"{key}={json_format.dumps(value)}", f"--{option} {value}"))
    return load_job(job_file, given)


def _check_options(job: Job, address: str | None) -> None:
    """Raise `UserError` for an option that would have no effect."""
    from quorate.errors import UserError

    if address is not None and job.spec.execution.executor == "local":
        raise UserError(
            f"--address {address} requires the executor ray, but the executor is local; "
            "leave out --address, or give --executor ray"
        )


def _run(
    job: Job,
    store: str,
    address: str | None,
    consoles: tuple[Console, Console, Console],
    stop: object,
    since: float,
    *,
    as_json: bool,
) -> None:
    from quorate.execution.interrupt import StopRequest
    from quorate.execution.stream import at_work
    from quorate.job.run import JobFailed, Options, run_job
    from quorate.report.budget import as_lines
    from quorate.report.leaderboard import as_table, choices
    from quorate.store import open_store

    assert isinstance(stop, StopRequest)
    executor: Literal["ray", "local"] = job.spec.execution.executor
    options = Options(open_store(store), runs_folder(), executor, address, since)
    console, said, errors = consoles
    code, before = 0, at_work()
    try:
        board = run_job(job, options, console=said, stop=stop, errors=errors)
    except JobFailed as failure:
        errors.print(f"the job failed: {failure}", style="red", markup=False, highlight=False, soft_wrap=True)
        code = 1
    else:
        if as_json:
            typer.echo(board.to_text())
        else:
            console.print(as_table(board, width=console.width))
            if (chosen := choices(board)) is not None:
                console.print(chosen)
            for line in as_lines(board.budget, board.run) if board.budget is not None else ():
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            _say_what_next(board, said)
    if at_work() - before:  # threads that still run can crash the interpreter at exit, as with SVC and torch
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        raise typer.Exit(code)


def _say_what_next(board: Leaderboard, console: Console) -> None:
    tasks = board.tasks
    console.print(
        f"{board.seconds:.0f} s; fit tasks: {tasks.trained} trained, {tasks.reused} reused, {tasks.failed} failed\n",
        highlight=False,
    )
    run = runs_folder() / board.run
    for command in (f"quorate predict FILES --run {run}", f"quorate serve --run {run}", "quorate ui"):
        console.print(f"  {command}", highlight=False, soft_wrap=True)
