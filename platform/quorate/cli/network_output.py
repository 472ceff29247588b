"""What the commands share that make one network from an ensemble: where it goes, progress, and being interrupted."""

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
    typer.Option(
        "-o", "--output", help="A new folder for the bundle; one in the run's folder, named as the member, if left out."
    ),
]


def output_folder(given: Path | None, usual: Path) -> Path:
    """Where the bundle goes; raises `UserError` before any work where something is there already."""
    from quorate.errors import UserError
    from quorate.scoring.output import check_output_folder

    path = given if given is not None else usual
    if path.exists():
        raise UserError(f"{path} is there already; name another folder with -o, or remove it")
    check_output_folder(path)
    return path


@contextmanager
def making(target: Path) -> Iterator[Status]:
    """A line of progress where somebody looks; a signal ends the command with nothing written."""

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


def tell(parts: Iterable[Any], target: Path) -> None:
    """Print tables and sentences, and what can be done with the bundle."""

    console = make_console(highlight=False)
    for part in parts:
        console.print(part, soft_wrap=not hasattr(part, "columns"))
    console.print(f"\n  quorate predict FILES --run {target}", soft_wrap=True)
    console.print(f"  quorate serve --run {target}", soft_wrap=True)
