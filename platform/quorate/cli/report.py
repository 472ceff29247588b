"""`quorate report`: write the report of a finished run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quorate.cli.options import AllowCodeOption, runs_folder


def report(
    run: Annotated[
        str | None,
        typer.Option("--run", help="A run folder or its name. Default: the newest finished run."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE.html", help="The file to write. Default: report.html in the run folder."
        ),
    ] = None,
    allow_code: AllowCodeOption = False,
) -> None:
    """Write the report of a finished run: one HTML file that loads nothing from other places."""
    from quorate.runs.folder import RunFolder
    from quorate.scoring.output import check_output, writing

    if output is not None:
        check_output(output, endings=(".html", ".htm"))
    folder = RunFolder.find(run, runs_folder())
    from quorate.quantities import format_bytes
    from quorate.report.run_report import REPORT, RunInputs, write_report

    opened = RunInputs.reopened(folder)
    path = output if output is not None else folder.path / REPORT
    with writing(path):
        write_report(folder, path, opened)
    if opened.note:
        typer.echo(opened.note, err=True)
    typer.echo(f"wrote the report of {folder.name} to {path} ({format_bytes(path.stat().st_size)})")
