"""`quorate curves`: draw the learning curves of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quorate.cli.options import runs_folder


def curves(
    run: Annotated[
        str | None,
        typer.Option("--run", help="A run folder or its name, finished or not. Default: the newest run."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A folder for the pictures. Default: plots/ in the run folder."),
    ] = None,
) -> None:
    """Draw the learning curves of each member, and of all members on one sheet, as PNG and SVG."""
    from quorate.errors import UserError
    from quorate.runs.folder import RunFolder
    from quorate.scoring.output import check_output_folder, writing

    if output is not None:
        check_output_folder(output)
    folder = RunFolder.journalled(run, runs_folder())
    place = output if output is not None else folder.path / "plots"
    from quorate.report.pictures import redraw

    with writing(place):
        place.mkdir(exist_ok=True)
        drawn = redraw(folder, place)
    if not drawn:
        raise UserError(
            f"no member of {folder.name} has learning curves yet; only members that train in epochs have them"
        )
    typer.echo(f"wrote {len(drawn)} pictures to {place}; curves.png shows all members")
