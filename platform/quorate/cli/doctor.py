"""`quorate doctor`: check this machine and print problems with their fixes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.options import JsonOption, store_uri
from quorate.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quorate.doctor.check import CheckResult

SECONDS = 70.0
"""Time limit in seconds for the checks, which run concurrently. It is longer than the time limit of any single check
(at most `IMPORT_SECONDS`). An assumption, not a measurement."""


def doctor(
    store: Annotated[
        str | None,
        typer.Option(metavar="URI", help="The store of finished work. Default: QUORATE_STORE, or .quorate/store."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check versions, processors, memory, disks, GPUs, tracking and ports. The exit code is 1 if there is a problem."""
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
    found = []
    for result in run_checks(checks, seconds=SECONDS):
        found.append(result)
        if not json:
            _say(result)
    if json:
        typer.echo(json_text([asdict(result) for result in found]))
    problems = sum(result.level == "problem" for result in found)
    if not json:
        typer.echo(f"{problems} {'problem' if problems == 1 else 'problems'}" if problems else "no problems")
    raise typer.Exit(1 if problems else 0)


def _say(result: CheckResult) -> None:
    color = {"ok": typer.colors.GREEN, "note": typer.colors.YELLOW, "problem": typer.colors.RED}[result.level]
    typer.echo(f"{typer.style(f'{result.level:8}', fg=color)}{result.what}: {result.message}")
    if result.fix:
        typer.echo(f"{'':8}  fix: {result.fix}")
