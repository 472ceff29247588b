"""`quorate curves`: draw the learning curves of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quorate.cli.options import RunsOption


def curves(
    run: Annotated[
        str | None,
        typer.Option("--run", help="A run folder, its name or its URL, finished or not. Default: the newest run."),
    ] = None,
    runs_at: RunsOption = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A folder for the pictures. Default: plots/ in the run folder."),
    ] = None,
) -> None:
    """Draw the learning curves of each member, and of all members on one sheet, as PNG and SVG."""
    from quorate.errors import UserError
    from quorate.runs.lookup import find_journal
    from quorate.scoring.output import check_output_folder, writing

    if output is not None:
        check_output_folder(output)
    folder = find_journal(run)
    place = output if output is not None else folder.path / "plots"
    from quorate.report.pictures import redraw

    with writing(place):
        place.mkdir(exist_ok=True)
        drawn = redraw(folder, place)
    if not drawn:
        raise UserError(
            f"no member of {folder.name} has learning curves yet; only members that train in epochs have them"
        )
    if output is None:
        folder.publish()
    typer.echo(f"wrote {len(drawn)} pictures to {folder.address_of(place)}; curves.png shows all members")
