"""Where commands keep and find things, and the options that several of them share."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from quorate.registry import own_code
from quorate.runs.lookup import bundle_folder, runs_folder

__all__ = ["AllowCodeOption", "JsonOption", "RunOption", "bundle_folder", "runs_folder", "store_uri"]

RunOption = Annotated[
    str | None,
    typer.Option(
        "--run", help="A run folder or its name, or an MLflow model URI; the newest finished run when left out."
    ),
]


def _refuse_code(context: typer.Context, allowed: bool) -> bool:
    """Refuse for the rest of the command to import code that a run names, unless it is allowed."""
    if not allowed and not context.resilient_parsing:
        # the root's context ends with the command also where another option cannot be read
        context.find_root().with_resource(own_code.refused())
    return allowed


AllowCodeOption = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Import the user's own code that the run names as module:name; only for runs that you trust.",
        callback=_refuse_code,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def store_uri() -> str:
    """`.quorate/store` in the present folder, or QUORATE_STORE."""
    return os.environ.get("QUORATE_STORE", ".quorate/store")
