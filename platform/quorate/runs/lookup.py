"""Find the folder of runs, and the bundle of a run."""

from __future__ import annotations

import os
from pathlib import Path


def runs_folder() -> Path:
    """The folder named by the environment variable QUORATE_RUNS, or `runs` in the current folder."""
    return Path(os.environ.get("QUORATE_RUNS", "runs"))


def bundle_folder(run: str | None) -> Path:
    """The folder of the bundle of a run. A bundle in MLflow (`models:/NAME@champion`) is downloaded."""
    from quorate.bundle import MANIFEST
    from quorate.runs.folder import RunFolder

    if run is not None and run.startswith(("models:/", "runs:/", "mlflow-artifacts:/")):
        from quorate.tracking.download import download_bundle

        return download_bundle(run)
    if run is not None and (Path(run) / MANIFEST).is_file():
        return Path(run)
    return RunFolder.find(run, runs_folder()).bundle
