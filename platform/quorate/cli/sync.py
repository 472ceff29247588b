"""`quorate sync`: send the remaining records of a run to MLflow."""

from __future__ import annotations

from typing import Annotated

import typer

from quorate.cli.options import RunsOption


def sync(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="A run folder, its name or its URL. Default: the newest run.", show_default=False
        ),
    ] = None,
    runs_at: RunsOption = None,
) -> None:
    """Send the records of a run that MLflow does not have yet, and files that its bucket does not have yet.

    Repeating the command sends no record twice.
    """
    from quorate.runs.lookup import find_journal
    from quorate.runs.sync import send_rest

    raise typer.Exit(send_rest(find_journal(run), typer.echo))
