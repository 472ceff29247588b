"""Where runs lie, and where the bundle is that somebody means by a run."""

from __future__ import annotations

import os
from pathlib import Path


def runs_folder() -> Path:
    """`runs` in the present folder, or QUORATE_RUNS."""
    return Path(os.environ.get("QUORATE_RUNS", "runs"))


def bundle_folder(run: str | None) -> Path:
    """The bundle of a run, or of a model in MLflow's registry (`models:/NAME@champion`), which is downloaded."""
    from quorate.bundle import MANIFEST
    from quorate.runs.folder import RunFolder

    if run is not None and run.startswith(("models:/", "runs:/", "mlflow-artifacts:/")):
        from quorate.tracking.download import download_bundle

        return download_bundle(run)
    if run is not None and (Path(run) / MANIFEST).is_file():
        return Path(run)
    return RunFolder.find(run, runs_folder()).bundle
