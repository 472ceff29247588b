"""`quorate doctor`: check this machine or a cluster, and print problems with their fixes."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.options import JsonOption, StoreOption, place_on_cluster, store_uri
from quorate.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quorate.doctor.check import CheckResult
    from quorate.doctor.survey import Survey

SECONDS = 70.0
"""Time limit in seconds for the checks, which run concurrently. It is longer than the time limit of any single check
(at most `IMPORT_SECONDS`). An assumption, not a measurement."""
_DASHBOARD = ("http://", "https://")


def doctor(
    store: StoreOption = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Check a cluster instead: http://HEAD:8265 (its dashboard), or HEAD:6379 from one of its nodes.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check this machine, or a cluster: versions, memory, disks, GPUs, tracking, ports, tokens, clocks. The exit code
    is 1 if there is a problem."""
    if address is not None and address.startswith(_DASHBOARD):
        from quorate.execution.ray.dashboard import address_of

        address = address_of(address)
    found = []
    for result in _local_checks(store) if address is None else _cluster_checks(address, store):
        found.append(result)
        if not json:
            _say(result)
    if json:
        typer.echo(json_text([asdict(result) for result in found]))
    problems = sum(result.level == "problem" for result in found)
    if not json:
        typer.echo(f"{problems} {'problem' if problems == 1 else 'problems'}" if problems else "no problems")
    raise typer.Exit(1 if problems else 0)


def _local_checks(store: str | None) -> Iterator[CheckResult]:
    from quorate.doctor import machine, services, software
    from quorate.doctor.check import run_checks
    from quorate.doctor.storage import check_store
    from quorate.runs.lookup import runs_place

    def disks() -> Iterator[CheckResult]:
        yield check_store(store or store_uri())
        yield machine.disk("runs", runs_place().work)

    checks = (
        software.versions,
        software.extras,
        software.torch_and_gpus,
        machine.processors,
        machine.memory,
        disks,
        machine.temporary,
        lambda: [machine.open_files()],
        services.tracking,
        services.ports,
        services.ray_token,
    )
    return run_checks(checks, seconds=SECONDS)


def _cluster_checks(address: str, store: str | None) -> Iterator[CheckResult]:
    from quorate.doctor.check import CheckResult
    from quorate.execution.ray.cluster import ClusterError

    try:
        survey = _survey(address, store)
    except ClusterError as error:
        yield CheckResult("cluster", "problem", str(error))
        return
    from quorate.doctor.cluster import cluster_checks
    from quorate.doctor.node import installed_versions
    from quorate.doctor.services import ray_token

    yield from ray_token()
    yield from cluster_checks(survey, platform.python_version(), installed_versions())


def _survey(address: str, store: str | None) -> Survey:
    """Survey the cluster; an absent one or a refused token is noticed before imports that take seconds."""
    if not address.startswith(_DASHBOARD):
        from quorate.doctor.survey import take_survey

        return take_survey(address, store or store_uri())
    from quorate.execution.ray.dashboard import knock

    knock(address)
    from quorate.doctor.submitted_survey import survey_from_head

    return survey_from_head(address, place_on_cluster(store, store_uri()))


def _say(result: CheckResult) -> None:
    color = {"ok": typer.colors.GREEN, "note": typer.colors.YELLOW, "problem": typer.colors.RED}[result.level]
    typer.echo(f"{typer.style(f'{result.level:8}', fg=color)}{result.what}: {result.message}")
    if result.fix:
        typer.echo(f"{'':8}  fix: {result.fix}")
