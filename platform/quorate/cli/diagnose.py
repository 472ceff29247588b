"""`quorate diagnose`: what to do next, from the errors of a finished run."""

from __future__ import annotations

from typing import Annotated

import typer

from quorate.cli.console import make_console
from quorate.cli.options import AllowCodeOption, JsonOption, runs_folder
from quorate.json_text import json_text


def diagnose(
    run: Annotated[
        str | None,
        typer.Option("--run", help="A run folder or its name; the newest finished run when left out."),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option("--target", metavar="ACCURACY", help="The accuracy that is possible, such as people's: 0 to 1."),
    ] = None,
    target_loss: Annotated[
        float | None, typer.Option("--target-loss", metavar="NATS", help="The log-loss to reach, instead of that.")
    ] = None,
    allow_code: AllowCodeOption = False,
    json: JsonOption = False,
) -> None:
    """Say whether bias, variance or unlike test rows hold a run back, and what to do next."""
    from quorate.errors import UserError

    if target is not None and target_loss is not None:
        raise UserError("give --target or --target-loss; one of them is measured against")
    if target is not None and not 0 <= target <= 1:
        raise UserError(f"--target {target:g}: an accuracy is from 0 to 1, such as 0.98")
    if target_loss is not None and not 0 <= target_loss < float("inf"):
        raise UserError(f"--target-loss {target_loss:g}: a log-loss is 0 or more nats")
    from quorate.runs.folder import RunFolder

    folder = RunFolder.find(run, runs_folder())
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
        console.print(part, soft_wrap=not hasattr(part, "columns"))
