"""Where commands keep and find things, and the options that several of them share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

RunOption = Annotated[
    str | None,
    typer.Option(
        "--run", help="A run folder or its name, or an MLflow model URI; the newest finished run when left out."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def runs_folder() -> Path:
    """`runs` in the present folder, or QUORATE_RUNS."""
    return Path(os.environ.get("QUORATE_RUNS", "runs"))


def store_uri() -> str:
    """`.quorate/store` in the present folder, or QUORATE_STORE."""
    return os.environ.get("QUORATE_STORE", ".quorate/store")


def bundle_folder(run: str | None) -> Path:
    """The bundle of a run, or of a model in MLflow's registry (`models:/NAME@champion`), which is downloaded."""
    from quorate.runs import RunFolder

    if run is not None and run.startswith(("models:/", "runs:/", "mlflow-artifacts:/")):
        from quorate.tracking.download import download_bundle

        return download_bundle(run)
    if run is not None and (Path(run) / "manifest.json").is_file():
        return Path(run)
    return RunFolder.find(run, runs_folder()).bundle
