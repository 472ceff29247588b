"""Show the result of `quorate train`, also of a job that another process runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from quorate.execution.interrupt import StopRequest
    from quorate.job.lease import JobRunsElsewhere
    from quorate.runs.leaderboard import Leaderboard

    Consoles = tuple[Console, Console, Console]
    """For the result, for progress, and for errors."""


def say_elsewhere(
    elsewhere: JobRunsElsewhere, follow: bool, consoles: Consoles, stop: StopRequest, *, as_json: bool
) -> None:
    """Say where the job runs, or follow it to its end; ends with its exit code, or with 1."""
    from quorate.errors import Interrupted
    from quorate.job import following

    console, said, errors = consoles
    if not follow:
        hint = "to show its progress, run the same command with --follow"
        errors.print(f"{elsewhere}; {hint}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1)
    said.print(f"{elsewhere}; following it (Ctrl-C ends this command only)", highlight=False, soft_wrap=True)
    try:
        job = following.follow(elsewhere, said, stop)
    except Interrupted as interrupted:
        errors.print(f"stopped following ({interrupted}); {elsewhere.holder} goes on", highlight=False)
        errors.file.flush()
        sys.exit(128 + interrupted.signum)
    (said if job.code == 0 else errors).print(job.message, highlight=False, soft_wrap=True)
    if job.board is not None:
        show_board(job.board, job.run, console, said, as_json=as_json)
    raise typer.Exit(job.code)


def show_board(
    board: Leaderboard, run: str, console: Console, said: Console, *, as_json: bool, on_this_machine: bool = True
) -> None:
    """Print the leaderboard and, if it is not for scripts, what to do next with a run that is `on_this_machine`."""
    from quorate.report.leaderboard import as_table, choices, remarks

    if as_json:
        typer.echo(board.to_text())
        return
    console.print(as_table(board, width=console.width))
    if (chosen := choices(board)) is not None:
        console.print(chosen)
    for line in remarks(board):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    _say_what_next(board, run, said, on_this_machine=on_this_machine)


def _say_what_next(board: Leaderboard, run: str, console: Console, *, on_this_machine: bool) -> None:
    tasks = board.tasks
    console.print(
        f"{board.seconds:.0f} s; fit tasks: {tasks.trained} trained, {tasks.reused} reused, {tasks.failed} failed\n",
        highlight=False,
    )
    if not on_this_machine:
        return
    for command in (f"quorate predict FILES --run {run}", f"quorate serve --run {run}", "quorate ui"):
        console.print(f"  {command}", highlight=False, soft_wrap=True)
