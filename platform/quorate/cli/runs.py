"""`quorate runs`: list, compare and remove runs."""

from __future__ import annotations

import json as json_format
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quorate.cli.commands import Command, Group
from quorate.cli.console import make_console
from quorate.cli.options import JsonOption, RunsOption
from quorate.json_text import json_text

if TYPE_CHECKING:
    from rich.table import Table

    from quorate.runs.comparison import RunDifference

_STATES = {"failed": "red", "damaged": "red", "interrupted": "yellow", "running": "green"}
"""Colours of run states."""

app = typer.Typer(cls=Group, help="List, compare or remove runs.")

RunsArgument = Annotated[
    list[str], typer.Argument(metavar="RUN…", help="Run folders or their names.", show_default=False)
]


@app.callback(invoke_without_command=True)
def _list_by_default(context: typer.Context, runs_at: RunsOption = None, json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        list_runs(runs_at, json)
    elif json:
        from quorate.errors import UserError

        raise UserError(f"put --json after `{context.invoked_subcommand}`")


@app.command("list", cls=Command)
def list_runs(runs_at: RunsOption = None, json: JsonOption = False) -> None:
    """List the runs, newest first, with state, metrics and size."""
    from quorate.runs.lookup import runs_place

    place = runs_place()
    runs = place.past()
    if json:
        typer.echo(json_text([asdict(run) for run in runs]))
        return
    from rich.text import Text

    from quorate.quantities import format_bytes, format_seconds
    from quorate.report.columns import TableColumn, fit

    console = make_console()
    if not runs:
        console.print(f"no runs in {place.address}", highlight=False, markup=False, soft_wrap=True)
        return
    states = [Text(run.state, style=_STATES.get(run.state, "")) for run in runs]
    columns = [
        TableColumn("run", [run.name for run in runs], justify="left"),
        TableColumn("started", [run.started.replace("T", " ")[:16] for run in runs], 5, justify="left"),
        TableColumn("state", states, justify="left"),
        TableColumn("data", [run.data for run in runs], 7, justify="left"),
        TableColumn("members", ["" if run.members is None else str(run.members) for run in runs], 6),
        TableColumn("oof NLL", [_format(run.oof_nll) for run in runs]),
        TableColumn("test NLL", [_format(run.test_nll) for run in runs], 1),
        TableColumn("test acc.", [_format(run.test_accuracy) for run in runs], 4),
        TableColumn("took", ["" if run.seconds is None else format_seconds(run.seconds) for run in runs], 2),
        TableColumn("size", [format_bytes(run.size) for run in runs], 3),
    ]
    console.print(fit(columns, width=console.width, box=None, padding=(0, 1, 0, 0)).table)


@app.command(cls=Command)
def compare(runs: RunsArgument, runs_at: RunsOption = None, json: JsonOption = False) -> None:
    """Compare finished runs with the first one: metrics, job differences, and paired differences with noise."""
    from quorate.errors import UserError
    from quorate.report.columns import natural_width
    from quorate.runs.comparison import compare
    from quorate.runs.lookup import find_run

    if len(runs) < 2:
        raise UserError("name at least two runs to compare")
    found = compare([find_run(run) for run in runs])
    if json:
        typer.echo(json_text(asdict(found)))
        return

    console = make_console()
    numbered = [f"run {number}" for number, _ in enumerate(found.runs, start=1)]
    parts: list[tuple[str, dict[str, Any], Callable[[Any], str]]]
    parts = [("ensemble", found.figures, _format), ("members, oof NLL", found.members, _format)]
    parts += [("jobs differ in", found.parameters, json_format.dumps)] if found.parameters else []
    tables = [_side_by_side(title, rows, found.runs, say) for title, rows, say in parts]
    if any(natural_width(table) > console.width for table in tables):
        for number, run in zip(numbered, found.runs, strict=True):
            console.print(f"{number}: {run}", highlight=False, markup=False, soft_wrap=True)
        tables = [_side_by_side(title, rows, numbered, say) for title, rows, say in parts]
    for table in tables:
        console.print(table)
    if not found.parameters:
        console.print("the jobs are identical")
    for versus in found.versus:
        console.print(_judged(versus, found.runs[0]), highlight=False, markup=False, soft_wrap=True)


@app.command(cls=Command)
def remove(
    runs: RunsArgument,
    runs_at: RunsOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove runs that have ended. The store and the records in MLflow are kept."""
    from quorate.errors import UserError
    from quorate.quantities import format_bytes
    from quorate.runs.history import unsent
    from quorate.runs.lookup import runs_place

    place = runs_place()
    folders = list({folder.path: folder for folder in (place.removable(run) for run in runs)}.values())
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("cannot ask for confirmation, because the standard input is not a terminal; give --yes")
        for folder in folders:
            size = format_bytes(place.size_of(folder))
            typer.echo(f"  {folder.address} ({size}{_lost(folder.name, unsent(folder))})")
        if not typer.confirm(f"remove {len(folders)} {'run' if len(folders) == 1 else 'runs'}?"):
            raise typer.Exit(1)
    for folder in folders:
        place.remove(folder)
        typer.echo(f"removed {folder.name}")


def _lost(name: str, unsent: int | None) -> str:
    """The records that would be lost with a run, in words; empty if there are none."""
    if unsent is None:
        return ", perhaps with records not yet in MLflow: its journal cannot be read"
    return f", {unsent} records not yet in MLflow (quorate sync {name})" if unsent else ""


def _side_by_side(title: str, rows: dict[str, Any], runs: Sequence[str], say: Callable[[Any], str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title, box=None, padding=(0, 2, 0, 0))
    for run in runs:
        table.add_column(Text(run), justify="right")
    for name, values in rows.items():
        table.add_row(Text(name), *(Text(say(value)) for value in values))
    return table


def _judged(versus: RunDifference, first: str) -> str:
    """The paired difference in words; the champion in the Model Registry is chosen by the same test."""
    from quorate.ensemble.paired import Z

    if versus.difference is None:
        return f"{versus.run} and {first} cannot be compared row by row: {versus.reason}"
    mean, error = versus.difference.mean, versus.difference.standard_error
    clear = abs(mean) > Z * error
    if not math.isfinite(error):
        unknown = "standard error unknown, because all rows belong to one group"
        return f"{versus.run} minus {first}: cross-fitted log-loss {mean:+.5f}, {unknown}"
    side = "better" if mean < 0 else "worse"
    said = f"{side} by more than {Z:.2f} standard errors" if clear else "within the noise"
    judged = (
        f"{versus.run} minus {first}: cross-fitted log-loss {mean:+.5f} ± {error:.5f} "
        f"on {versus.difference.rows:,} rows, {said}"
    )
    if versus.test is None:
        return judged
    from quorate.report.evaluation import differences

    return judged + f"; test {differences({name: figure.to_json() for name, figure in versus.test.items()})}"


def _format(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"
