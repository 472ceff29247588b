"""`quorate lr-find`: run the learning rate range test of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quorate.cli.fit_runner import AddressOption, ExecutorOption, fit_runner
from quorate.cli.member_arguments import JobArgument, MemberArgument, SetOption, check_picture, read_job
from quorate.cli.options import JsonOption, StoreOption
from quorate.json_text import json_text


def lr_find(
    job_file: JobArgument,
    member: MemberArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .png, .svg or .pdf file for the picture.")
    ] = None,
    low: Annotated[float, typer.Option("--from", metavar="RATE", help="The lowest learning rate.")] = 1e-6,
    high: Annotated[float, typer.Option("--to", metavar="RATE", help="The highest learning rate.")] = 10.0,
    steps: Annotated[
        int, typer.Option(min=10, max=100_000, help="Number of learning rates; each trains on one batch.")
    ] = 100,
    override: SetOption = None,
    executor: ExecutorOption = None,
    address: AddressOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Train a network at rising learning rates and suggest one. An interrupted test continues."""
    from quorate.errors import UserError

    check_picture(output)
    if not 0 < low < high < float("inf"):
        raise UserError(f"--from {low:g} --to {high:g}: learning rates must be above 0, and --to must be above --from")
    job = read_job(job_file, override)
    from quorate.diagnostics.first_fold import open_subject
    from quorate.diagnostics.lr_range_test import check_networks, find_rate, sentences

    check_networks(job, member)
    with fit_runner(executor, address, store, reading="reading the data") as (runner, status):
        subject = open_subject(job, member, runner.place)
        status.update(f"{member}: {steps} learning rates")
        found = find_rate(subject, runner, low=low, high=high, steps=steps)
    if output is not None:
        from quorate.report.range_plot import range_picture
        from quorate.scoring.output import writing

        title = f"{job.spec.name}: range test of {member}, batches of {found.batch_size}"
        with writing(output):
            range_picture(output, found.test, found.reading, title=title, own=found.rate)
    if json:
        typer.echo(json_text(found.to_json()))
    else:
        for sentence in sentences(found):
            typer.echo(sentence)
        if output is not None:
            typer.echo(f"wrote the picture to {output}")
    if not found.reading.learns:
        raise typer.Exit(1)
