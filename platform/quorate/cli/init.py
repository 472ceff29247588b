"""`quorate init`: inspect data and write a job file for them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.console import make_console
from quorate.cli.options import HubOption, JsonOption
from quorate.json_text import json_text

if TYPE_CHECKING:
    from rich.console import Console

    from quorate.autoconfig.fingerprint import Fingerprint
    from quorate.autoconfig.rules import JobChoices


def init(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="An .npz with images and labels, a folder of class folders, a CSV or Parquet file, or a folder that "
            "contains train and test; or the URL of one of these.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The job file to write.")] = Path(
        "job.yaml"
    ),
    budget: Annotated[str, typer.Option(metavar="TIME", help="Time limit of the job, e.g. 300s, 30m or 2h.")] = "30m",
    label: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column that contains the classes. Default: guessed."),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Test data, also as a URL. Default: test data next to DATA. If there are none, a part of DATA.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="FOLDER|hub",
            help="Pretrained networks for photographs: weights files of timm's networks in a folder, or those of the "
            "hub. Default: those of the hub if it answers.",
        ),
    ] = None,
    hub: HubOption = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing job file.")] = False,
    json: JsonOption = False,
) -> None:
    """Inspect data, print a summary, and write a commented job file for them."""

    from quorate.errors import UserError
    from quorate.quantities import read_seconds

    try:
        seconds = read_seconds(budget)
    except ValueError as error:
        raise UserError(f"--budget: {error}") from None
    if seconds <= 0:
        raise UserError("--budget: the time must be above 0")
    _check_output(output, force=force)

    from quorate.autoconfig.inspection import inspect_data
    from quorate.autoconfig.job_file import write_checked
    from quorate.autoconfig.job_text import job_text
    from quorate.autoconfig.rules import choose
    from quorate.autoconfig.selection import Machine
    from quorate.autoconfig.source import find_source
    from quorate.autoconfig.starting_weights import find_start
    from quorate.data.given import find_given
    from quorate.execution.hardware import this_hardware
    from quorate.members.network_pace import MeasuredPace
    from quorate.spec.hub_policy import hub_asked_by_command

    console = make_console(stderr=json)
    given = find_given(data, key="DATA").joined(find_given(*filter(None, [test]), key="--test"))
    with given.shown_in_errors():
        fingerprint = inspect_data(replace(find_source(*given.paths), given=given), label=label)
    if not json:
        _show(fingerprint, console)
    here = this_hardware()
    with hub_asked_by_command(hub) as policy:
        start = find_start(fingerprint, weights, policy, say=partial(_say, console))
        machine = Machine(here.cores, here.gpus, MeasuredPace(here))
        choices = choose(fingerprint, machine, seconds, hub=start.hub, networks=start.networks)
        text = job_text(fingerprint, choices, base=output.parent, budget=budget.strip(), hub=start.any)
        opened = not fingerprint.partly and start.ready
        write_checked(output, text, lambda draft: _check(draft, opened=opened))
    if json:
        typer.echo(json_text(_as_json(fingerprint, choices, output, seconds)))
    else:
        _say_what_next(choices, output, here.cores, budget, seconds, console)


def _check_output(output: Path, *, force: bool) -> None:
    from quorate.errors import UserError

    if output.is_dir():
        raise UserError(f"{output} is a folder; name a file with -o")
    if output.exists() and not force:
        raise UserError(f"{output} exists; choose another file with -o, or overwrite it with --force")
    if not output.parent.is_dir():
        raise UserError(f"the folder {output.parent} does not exist; create it, or choose another file with -o")


def _check(draft: Path, *, opened: bool) -> None:
    """Load the job as `quorate train` does, open its data and plan it; raises `UserError`."""
    from quorate.errors import UserError
    from quorate.execution.workplace import Workplace
    from quorate.job.planning import plan_job
    from quorate.plan.opening import open_data
    from quorate.spec import load_job
    from quorate.spec.file import SpecError

    try:
        job = load_job(draft)
        if opened:
            plan_job(job, open_data(job), Workplace("local", None, lambda executor: None))
    except SpecError as error:
        problems = "\n".join(problem.message for problem in error.problems)
        raise UserError(f"wrote no job file, because the job would not run: {problems}") from None


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _show(fingerprint: Fingerprint, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from quorate.autoconfig.fingerprint import TableFacts
    from quorate.autoconfig.summary import column_lines, describe_facts

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for what, said in describe_facts(fingerprint):
        table.add_row(Text(what), Text(said))
    console.print(table)
    if isinstance(fingerprint.facts, TableFacts):
        columns = Table("column", "kind", box=None, padding=(0, 2, 0, 0))
        for head in ("missing", "distinct"):
            columns.add_column(head, justify="right")
        columns.add_column("")
        for line in column_lines(fingerprint.facts):
            columns.add_row(*map(Text, line))
        console.print()
        console.print(columns)


def _say_what_next(
    choices: JobChoices, output: Path, cores: int, budget: str, seconds: float, console: Console
) -> None:
    from quorate.quantities import format_seconds

    selection = choices.selection
    count = sum(one.copies for one in selection.members)
    members = "1 member" if count == 1 else f"{count} members"
    folds = choices.validation.folds
    console.print(
        f"\nwrote {output}: {members} x {folds} fold{'s' * (folds > 1)} = {len(selection.fits)} fit tasks, "
        f"about {format_seconds(selection.seconds)} on {cores} core{'s' * (cores > 1)} (budget {budget.strip()}). "
        "Next:\n",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if selection.seconds > seconds:
        console.print(
            "This is more than the budget, although it is the cheapest job for these data. Allow more time, or set a "
            f"time limit: `quorate train {output} --budget {budget.strip()}` stops in time.\n",
            style="yellow",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    console.print(f"  quorate train {output}", highlight=False, markup=False, soft_wrap=True)


def _as_json(fingerprint: Fingerprint, choices: JobChoices, output: Path, seconds: float) -> dict[str, object]:
    from quorate.autoconfig.summary import as_json

    selection = choices.selection
    return {
        "job": str(output),
        "fingerprint": as_json(fingerprint),
        "validation": {"folds": choices.validation.folds, "why": choices.validation.why},
        "members": [
            {
                "name": one.name,
                "why": one.why,
                "params": dict(one.params),
                "fit_core_seconds": round(one.fit_seconds, 1),
            }
            for one in selection.members
        ],
        "left_out": [one.name for one in selection.left_out],
        "budget_seconds": seconds,
        "estimated_seconds": round(selection.seconds, 1),
        "next": f"quorate train {output}",
    }
