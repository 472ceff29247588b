"""Where commands keep and find things, and the options that several of them share."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from quorate.finding import bundle_folder, runs_folder

__all__ = ["JsonOption", "RunOption", "bundle_folder", "runs_folder", "store_uri"]

RunOption = Annotated[
    str | None,
    typer.Option(
        "--run", help="A run folder or its name, or an MLflow model URI; the newest finished run when left out."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def store_uri() -> str:
    """`.quorate/store` in the present folder, or QUORATE_STORE."""
    return os.environ.get("QUORATE_STORE", ".quorate/store")
