"""`quorate diagnose`: analyse the errors of a finished run and suggest the next step."""

from __future__ import annotations

from typing import Annotated

import typer

from quorate.cli.console import make_console
from quorate.cli.options import AllowCodeOption, JsonOption, RunOption, RunsOption
from quorate.json_text import json_text


def diagnose(
    run: RunOption = None,
    runs_at: RunsOption = None,
    target: Annotated[
        float | None,
        typer.Option(
            "--target", metavar="ACCURACY", help="The accuracy that is possible, such as human accuracy; from 0 to 1."
        ),
    ] = None,
    target_loss: Annotated[
        float | None,
        typer.Option("--target-loss", metavar="NATS", help="The log-loss to reach, instead of an accuracy."),
    ] = None,
    allow_code: AllowCodeOption = False,
    json: JsonOption = False,
) -> None:
    """Find out whether bias, variance or a data mismatch limits a run, and suggest the next step."""
    from quorate.errors import UserError

    if target is not None and target_loss is not None:
        raise UserError("give either --target or --target-loss, not both")
    if target is not None and not 0 <= target <= 1:
        raise UserError(f"--target {target:g}: an accuracy must be between 0 and 1, e.g. 0.98")
    if target_loss is not None and not 0 <= target_loss < float("inf"):
        raise UserError(f"--target-loss {target_loss:g}: a log-loss must be finite and at least 0 (nats)")
    from quorate.runs.lookup import find_run

    folder = find_run(run)
    from rich.table import Table

    from quorate.diagnostics.evidence import gather_evidence
    from quorate.report.advice import as_json, as_lines, diagnoses

    measure = "error" if target_loss is None else "loss"
    aim = target_loss if target_loss is not None else 1 - target if target is not None else 0.0
    found = diagnoses(gather_evidence(folder, target=aim, measure=measure))
    given = target is not None or target_loss is not None
    if json:
        typer.echo(json_text(as_json(found, run=folder.name, given=given)))
        return

    console = make_console(highlight=False)
    for part in as_lines(found, run=folder.name, given=given):
        console.print(part, soft_wrap=not isinstance(part, Table))
