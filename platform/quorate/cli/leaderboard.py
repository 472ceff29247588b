"""`quorate leaderboard`: show the metrics of a finished run."""

from __future__ import annotations

import typer

from quorate.cli.console import make_console
from quorate.cli.options import JsonOption, RunOption, RunsOption


def leaderboard(run: RunOption = None, runs_at: RunsOption = None, json: JsonOption = False) -> None:
    """Show members and ensemble: out-of-fold and test metrics, weights, temperatures, seconds."""
    from quorate.runs.copy import JUST_BOARD
    from quorate.runs.lookup import find_run

    board = find_run(run, JUST_BOARD).board()
    if json:
        typer.echo(board.to_text())
        return

    from quorate.report.leaderboard import as_table, choices, remarks

    console = make_console()
    console.print(as_table(board, width=console.width))
    if (chosen := choices(board)) is not None:
        console.print(chosen)
    for line in remarks(board):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
