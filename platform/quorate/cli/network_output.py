"""Output folder and printed result of the commands that turn an ensemble into one network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from quorate.cli.console import make_console

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


def print_network(parts: Iterable[Any], target: str) -> None:
    """Print tables and sentences, then suggest commands that use the bundle."""
    from rich.table import Table

    console = make_console(highlight=False)
    for part in parts:
        console.print(part, soft_wrap=not isinstance(part, Table))
    console.print(f"\n  quorate predict FILES --run {target}", soft_wrap=True)
    console.print(f"  quorate serve --run {target}", soft_wrap=True)
