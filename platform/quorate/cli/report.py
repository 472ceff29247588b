"""`quorate report`: write the report of a finished run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.options import AllowCodeOption, RunOption, RunsOption

if TYPE_CHECKING:
    from quorate.runs.folder import RunFolder


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
    """Write the report of a finished run or of a search: one HTML file that loads nothing from other places."""
    from quorate.scoring.output import check_output, writing

    if output is not None:
        check_output(output, endings=(".html", ".htm"))
    folder, is_search = _found(run)
    from quorate.quantities import format_bytes
    from quorate.report.run_report import REPORT, RunInputs, write_report

    path = output if output is not None else folder.path / REPORT
    if is_search:
        from quorate.report.search_report import write_search_report

        with writing(path):
            write_search_report(folder, path)
    else:
        opened = RunInputs.reopened(folder)
        with writing(path):
            write_report(folder, path, opened)
        if opened.note:
            typer.echo(opened.note, err=True)
    if output is None:
        folder.publish()
    typer.echo(f"wrote the report of {folder.name} to {folder.address_of(path)} ({format_bytes(path.stat().st_size)})")


def _found(run: str | None) -> tuple[RunFolder, bool]:
    """The run, finished unless it is a search, and whether it is one; by default the newest."""
    from quorate.runs.copy import SEARCH_PARTS
    from quorate.runs.errors import RunError
    from quorate.runs.lookup import find_journal, find_run
    from quorate.runs.search_record import NAME

    try:
        folder = find_journal(run, SEARCH_PARTS)
    except RunError:
        return find_run(run), False
    return (folder, True) if (folder.path / NAME).is_file() else (find_run(run), False)
