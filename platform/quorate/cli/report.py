"""`quorate report`: write the report of a finished run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quorate.cli.options import AllowCodeOption, RunOption, RunsOption


def report(
    run: RunOption = None,
    runs_at: RunsOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE.html", help="The file to write. Default: report.html in the run folder."
        ),
    ] = None,
    allow_code: AllowCodeOption = False,
) -> None:
    """Write the report of a finished run: one HTML file that loads nothing from other places."""
    from quorate.runs.lookup import find_run
    from quorate.scoring.output import check_output, writing

    if output is not None:
        check_output(output, endings=(".html", ".htm"))
    folder = find_run(run)
    from quorate.quantities import format_bytes
    from quorate.report.run_report import REPORT, RunInputs, write_report

    opened = RunInputs.reopened(folder)
    path = output if output is not None else folder.path / REPORT
    with writing(path):
        write_report(folder, path, opened)
    if output is None:
        folder.publish()
    if opened.note:
        typer.echo(opened.note, err=True)
    typer.echo(f"wrote the report of {folder.name} to {folder.address_of(path)} ({format_bytes(path.stat().st_size)})")
