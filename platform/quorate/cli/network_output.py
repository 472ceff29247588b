"""Output folder, progress and interruption of the commands that turn an ensemble into one network."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quorate.cli.console import make_console

if TYPE_CHECKING:
    from rich.status import Status

OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="A new folder for the bundle. Default: a folder in the run folder."),
]


def output_folder(given: Path | None, usual: Path) -> Path:
    """The folder for the bundle; raises `UserError` before any work is done if it already exists."""
    from quorate.errors import UserError
    from quorate.scoring.output import check_output_folder

    path = given if given is not None else usual
    if path.exists():
        raise UserError(f"{path} exists; choose another folder with -o, or remove it")
    check_output_folder(path)
    return path


@contextmanager
def interruptible_status(target: Path) -> Iterator[Status]:
    """Show a status line in a terminal. A signal ends the command, and nothing is written."""

    from quorate.errors import Interrupted
    from quorate.execution.interrupt import StopRequest

    errors = make_console(stderr=True, highlight=False)
    StopRequest().install()
    try:
        with errors.status("reading the run") as status:
            yield status
    except Interrupted as interrupted:
        errors.print(f"interrupted ({interrupted}); nothing was written to {target}")
        sys.exit(128 + interrupted.signum)


def print_network(parts: Iterable[Any], target: str) -> None:
    """Print tables and sentences, then suggest commands that use the bundle."""
    from rich.table import Table

    console = make_console(highlight=False)
    for part in parts:
        console.print(part, soft_wrap=not isinstance(part, Table))
    console.print(f"\n  quorate predict FILES --run {target}", soft_wrap=True)
    console.print(f"  quorate serve --run {target}", soft_wrap=True)
