"""`quorate soup`: average the weights of several networks to replace an ensemble."""

from __future__ import annotations

from typing import Annotated

import typer

from quorate.cli.fit_runner import AddressOption, ExecutorOption, fit_runner
from quorate.cli.network_output import OutputOption, output_folder, print_network
from quorate.cli.options import AllowCodeOption, JsonOption, RunOption, RunsOption, StoreOption
from quorate.json_text import json_text


def soup(
    run: RunOption = None,
    runs_at: RunsOption = None,
    members: Annotated[
        str | None,
        typer.Option(
            "--members",
            metavar="A,B,…",
            help="Members to choose from, with all their copies and views. Default: all suitable networks.",
        ),
    ] = None,
    output: OutputOption = None,
    executor: ExecutorOption = None,
    address: AddressOption = None,
    store: StoreOption = None,
    allow_code: AllowCodeOption = False,
    json: JsonOption = False,
) -> None:
    """Average the weights of a run's networks greedily in each fold, and write the bundle of the result."""
    from quorate.errors import UserError
    from quorate.runs.lookup import find_run

    names = None if members is None else [name.strip() for name in members.split(",") if name.strip()]
    if names is not None and not names:
        raise UserError("--members is empty; name at least two networks, or leave it out")
    folder = find_run(run)
    target = output_folder(output, folder.path / "soup")
    from quorate.compress.soup import make_soup
    from quorate.compress.soup_candidates import find_candidates
    from quorate.runs.finished import reopen

    with fit_runner(executor, address, store, reading="reading the run") as (runner, status):

        def watch(done: int, folds: int) -> None:
            status.update(f"soup: {done} of {folds} folds finished")

        finished = reopen(folder)
        candidates = find_candidates(finished, runner, names)
        found = make_soup(finished, candidates, target, runner, watch=watch)
    if output is None:
        folder.publish()
    if json:
        typer.echo(json_text(found))
        return
    from quorate.report.one_network import soup as as_tables

    print_network(as_tables(found), folder.address_of(target))
