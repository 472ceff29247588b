"""`quorate leaderboard`: the figures of a finished run."""

from __future__ import annotations

import json as json_format

import typer

from quorate.cli.console import make_console
from quorate.cli.places import JsonOption, RunOption, runs_folder


def leaderboard(run: RunOption = None, json: JsonOption = False) -> None:
    """Show members and ensemble: out-of-fold and test figures, weights, temperatures, seconds."""
    from quorate.runs import RunFolder

    board = RunFolder.find(run, runs_folder()).board()
    if json:
        typer.echo(json_format.dumps(board, indent=1))
        return

    from quorate.report.leaderboard import as_table, choices

    console = make_console()
    console.print(as_table(board, width=console.width))
    if (chosen := choices(board)) is not None:
        console.print(chosen)
