"""`quorate sync`: send the remaining records of a run to MLflow."""

from __future__ import annotations

from typing import Annotated

import typer

from quorate.cli.options import runs_folder


def sync(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="A run folder or its name. Default: the newest run.", show_default=False),
    ] = None,
) -> None:
    """Send the records of a run that MLflow does not have yet. Repeating the command sends no record twice."""
    from quorate.runs.folder import RunFolder
    from quorate.tracking.shipper_process import default_uri
    from quorate.tracking.shipper_process import sync as send

    folder = RunFolder.journalled(run, runs_folder())
    raise typer.Exit(send(folder.path, default_uri()))
