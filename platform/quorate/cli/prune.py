"""`quorate prune`: show the cost and value of each member, and write a smaller ensemble."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.console import make_console
from quorate.cli.network_output import output_folder
from quorate.cli.options import AllowCodeOption, JsonOption, RunOption, RunsOption
from quorate.json_text import json_text

if TYPE_CHECKING:
    from quorate.ensemble.pruning_path import Goal


def prune(
    run: RunOption = None,
    runs_at: RunsOption = None,
    members: Annotated[int | None, typer.Option(metavar="N", help="Keep this number of members.")] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(
            "--max-latency", metavar="TIME", help="Maximum prediction time per row on this machine, e.g. 5ms."
        ),
    ] = None,
    loss: Annotated[
        float | None,
        typer.Option(
            metavar="NATS", help="Maximum rise of the out-of-fold log-loss, including its standard error, e.g. 0.001."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Folder for the bundle. Default: a folder in the run folder."
        ),
    ] = None,
    allow_code: AllowCodeOption = False,
    json: JsonOption = False,
) -> None:
    """Show the cost and value of each member. With a goal, write the smaller bundle that meets it."""
    from quorate.errors import UserError
    from quorate.runs.lookup import find_run

    goal = _goal(members, max_latency, loss)
    folder = find_run(run)
    if goal is None and output is not None:
        raise UserError("-o requires a goal: give --members, --max-latency or --loss")
    if output is not None:
        output_folder(output, output)

    from quorate.compress import pruning
    from quorate.report.pruning_path import as_lines, as_table
    from quorate.scoring.output import writing

    with make_console(stderr=True).status("removing one member after another"):
        found = pruning.pruning_path(folder, by_cost=members is None)
    step = found.chosen(goal) if goal is not None else None
    if goal is not None and step is None:
        least = min(one.cost for one in found.steps)
        raise UserError(
            f"no ensemble of these members predicts a row within {goal.milliseconds:g} ms: the fastest ensemble takes "
            f"{least:.3g} ms on this machine; allow more time, or train faster members"
        )
    written = None
    if step is not None and len(step.left) < len(found.names):
        out = output_folder(output, folder.path / f"pruned-{len(step.left)}")
        with writing(out):
            written = pruning.prune(folder, found, step, out) | {"bundle": folder.address_of(out)}
        if output is None:
            folder.publish()
    if json:
        typer.echo(json_text({**found.to_json(), "pruned": written}))
        return
    console = make_console(highlight=False)
    console.print(as_table(found, step))
    for line in as_lines(found, step, written):
        console.print(line, soft_wrap=True, markup=False)


def _goal(members: int | None, max_latency: str | None, loss: float | None) -> Goal | None:
    """The goal, if one is given; raises `UserError` for several goals and for invalid values."""
    from quorate.ensemble.pruning_path import Goal
    from quorate.errors import UserError

    given = [value for value in (members, max_latency, loss) if value is not None]
    if len(given) > 1:
        raise UserError("give only one of --members, --max-latency and --loss")
    if members is not None and members < 1:
        raise UserError(f"--members {members}: an ensemble needs at least 1 member")
    if loss is not None and not 0 <= loss < float("inf"):
        raise UserError(f"--loss {loss:g}: the rise of the log-loss must be finite and at least 0 (nats), e.g. 0.001")
    milliseconds = None
    if max_latency is not None:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s)\s*", max_latency)
        if match is None or not float(match[1]):
            raise UserError(f"--max-latency {max_latency}: give a time above 0 with its unit, e.g. 5ms or 0.2s")
        milliseconds = float(match[1]) * (1 if match[2] == "ms" else 1000)
    return Goal(members, milliseconds, loss) if given else None
