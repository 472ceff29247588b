"""`quorate backbones`: rank pretrained networks by what their frozen features say about images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.console import make_console
from quorate.cli.fit_runner import AddressOption, ExecutorOption, fit_runner
from quorate.cli.options import HubOption, JsonOption, StoreOption
from quorate.json_text import json_text

if TYPE_CHECKING:
    from quorate.autoconfig.backbone_sources import FoundBackbones
    from quorate.spec import Job

_JOBS = (".yaml", ".yml")


def backbones(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A folder of class folders or an .npz, as for `init`; or a job file, whose data are used.",
            show_default=False,
        ),
    ],
    networks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FILE|NAME=FILE]...",
            help="Networks of timm, with weights of the hub, and weights files that are named after their network. "
            "Default: those of --weights, or those that the job file names.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FOLDER|hub", help="All weights files of a folder, or a choice of the hub."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            min=4,
            max=4096,
            metavar="PIXELS",
            help="Side of the networks' input. Default: that of the images.",
        ),
    ] = None,
    hub: HubOption = None,
    executor: ExecutorOption = None,
    address: AddressOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Rank networks by nearest neighbours and a linear probe on their frozen features. A job finds these features."""
    from quorate.job.feature_ranking import names_of, rank_given
    from quorate.plan.opening import open_data
    from quorate.report.backbones import ranking_notes, ranking_table
    from quorate.spec.hub_policy import hub_asked_by_command

    console = make_console(stderr=json)
    with hub_asked_by_command(hub):
        job = _job(data)
        found = _found(job, networks or [], weights, size)
        for one in found.networks if not json else ():
            console.print(f"{one.backbone.arch}: {one.where}", highlight=False, markup=False, soft_wrap=True)
        for note in found.notes:
            console.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
        candidates = list(dict.fromkeys(one.backbone for one in found.networks))
        with fit_runner(executor, address, store, reading="reading the data") as (runner, status):
            context = open_data(job, runner.say, decoder=runner.place)
            status.update(f"features of {len(candidates)} networks")
            ranking = rank_given(candidates, names_of(candidates), context, runner, job.spec)
    if json:
        typer.echo(json_text(ranking.model_dump(mode="json")))
        return
    console.print()
    console.print(ranking_table(ranking))
    for line in ranking_notes(ranking):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _job(data: str) -> Job:
    """The job whose data are ranked on: a job file, or the data as `init` would write them."""
    from dataclasses import replace

    from quorate.autoconfig.inspection import inspect_data
    from quorate.autoconfig.job_text import job_of_data
    from quorate.autoconfig.source import find_source
    from quorate.data.given import find_given
    from quorate.spec import load_job

    if data.endswith(_JOBS):
        return load_job(Path(data))
    given = find_given(data, key="DATA")
    with given.shown_in_errors():
        return job_of_data(inspect_data(replace(find_source(*given.paths), given=given)))


def _found(job: Job, networks: list[str], weights: str | None, size: int | None) -> FoundBackbones:
    from quorate.autoconfig.backbone_sources import (
        FoundBackbone,
        FoundBackbones,
        backbones_in,
        backbones_on_hub,
        named_backbones,
    )
    from quorate.errors import UserError
    from quorate.job.backbone_choice import networks_of

    named = named_backbones(networks, size=size)
    if weights is not None:
        more = backbones_on_hub(size=size) if weights == "hub" else backbones_in(Path(weights), size=size)
        return FoundBackbones(named.networks + more.networks, named.notes + more.notes)
    if named.networks:
        return named
    if own := networks_of(job):
        return FoundBackbones(tuple(FoundBackbone(one, str(one.weights)) for one in own))
    raise UserError(
        "no network to rank: name networks of timm or weights files after DATA, or give --weights FOLDER or "
        "--weights hub"
    )
