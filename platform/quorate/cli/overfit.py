"""`quorate overfit`: check whether a member can memorize a few rows."""

from __future__ import annotations

from typing import Annotated

import typer

from quorate.cli.fit_runner import AddressOption, ExecutorOption, fit_runner
from quorate.cli.member_arguments import JobArgument, MemberArgument, SetOption, read_job
from quorate.cli.options import JsonOption, StoreOption
from quorate.json_text import json_text


def overfit(
    job_file: JobArgument,
    member: MemberArgument,
    rows: Annotated[int, typer.Option(min=4, max=100_000, help="Number of rows to memorize, balanced by class.")] = 32,
    epochs: Annotated[int, typer.Option(min=1, max=100_000, help="Maximum number of epochs, for networks.")] = 300,
    override: SetOption = None,
    executor: ExecutorOption = None,
    address: AddressOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Train a member until it memorizes a few rows, and report whether it can. An interrupted test continues."""
    job = read_job(job_file, override)
    from quorate.diagnostics.first_fold import open_subject
    from quorate.diagnostics.overfit_test import memorize, sentences

    with fit_runner(executor, address, store, reading="reading the data") as (runner, status):
        subject = open_subject(job, member, runner.place)
        status.update(f"{member}: {rows} rows")
        found = memorize(subject, runner, rows=rows, epochs=epochs)
    if json:
        typer.echo(json_text(found.to_json()))
    else:
        for sentence in sentences(found):
            typer.echo(sentence)
    if not found.attempt.memorized:
        raise typer.Exit(1)
