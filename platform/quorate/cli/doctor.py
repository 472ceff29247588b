"""`quorate doctor`: check this machine and print problems with their fixes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from quorate.cli.options import JsonOption, runs_folder, store_uri
from quorate.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quorate.doctor.check import CheckResult

SECONDS = 70.0
"""Time limit of the checks, which all run at the same time."""


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

    def disks() -> Iterator[CheckResult]:
        yield check_store(store or store_uri())
        yield machine.disk("runs", runs_folder())

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
    for finding in run_checks(checks, seconds=SECONDS):
        found.append(finding)
        if not json:
            _say(finding)
    if json:
        typer.echo(json_text([asdict(finding) for finding in found]))
    problems = sum(finding.level == "problem" for finding in found)
    if not json:
        typer.echo(f"{problems} {'problem' if problems == 1 else 'problems'}" if problems else "no problems")
    raise typer.Exit(1 if problems else 0)


def _say(finding: CheckResult) -> None:
    color = {"ok": typer.colors.GREEN, "note": typer.colors.YELLOW, "problem": typer.colors.RED}[finding.level]
    typer.echo(f"{typer.style(f'{finding.level:8}', fg=color)}{finding.what}: {finding.said}")
    if finding.mend:
        typer.echo(f"{'':8}  fix: {finding.mend}")
