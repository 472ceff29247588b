"""Options of the commands that train single networks, and the place where these are trained."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from quorate.cli.console import end_interrupted, make_console
from quorate.cli.options import check_cluster, store_uri

if TYPE_CHECKING:
    from rich.status import Status

    from quorate.job.fits import FitRunner

ExecutorOption = Annotated[
    str | None,
    typer.Option(
        "--executor", metavar="ray|local", help="Where networks are trained. Default: ray with an address, else local."
    ),
]


def _reached(context: typer.Context, address: str | None) -> str | None:
    """Look whether the cluster answers before the command imports what it needs, which takes seconds."""
    if address is not None and not context.resilient_parsing and context.params.get("executor") != "local":
        check_cluster(address)
    return address


AddressOption = Annotated[str | None, typer.Option("--address", help="Address of a Ray cluster.", callback=_reached)]


@contextmanager
def fit_runner(
    executor: str | None, address: str | None, store: str | None, *, reading: str
) -> Iterator[tuple[FitRunner, Status]]:
    """Open the store and the executor, and show a status line in a terminal, at first `reading`.

    A signal ends the command with 128 + its number; results and checkpoints are kept. A fit whose workers died ends it
    with 1.
    """
    from quorate.errors import Interrupted
    from quorate.execution.interrupt import StopRequest
    from quorate.job.ensemble import JobFailed
    from quorate.job.fits import FitRunner
    from quorate.store import open_store

    chosen, uri = _executor(executor, address), store or store_uri()
    errors, stop = make_console(stderr=True, highlight=False), StopRequest()
    stop.install()

    def say(message: str) -> None:
        errors.print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)

    try:
        with (
            errors.status(reading) as status,
            FitRunner.opened(open_store(uri), stop, chosen, address, say) as runner,
        ):
            yield runner, status
    except Interrupted as interrupted:
        end_interrupted(errors, interrupted, kept=f"finished work and checkpoints in {uri}")
    except JobFailed as failure:
        errors.print(f"error: {failure}", style="red", soft_wrap=True, markup=False)
        sys.exit(1)


def _executor(executor: str | None, address: str | None) -> Literal["ray", "local"]:
    from quorate.errors import UserError

    if executor is None:  # a local Ray would take longer to start than one network needs
        return "ray" if address is not None or os.environ.get("RAY_ADDRESS") else "local"
    if executor not in ("ray", "local"):
        raise UserError(f"--executor {executor}: choose ray or local")
    if executor == "local" and address is not None:
        raise UserError(
            f"--address {address} requires the executor ray, but the executor is local; "
            "leave out --address, or give --executor ray"
        )
    return "ray" if executor == "ray" else "local"
