"""Fetches the bundle of a registered model; it lies in a temporary folder while the process lives."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from quorate.errors import UserError
from quorate.tracking.live import default_uri


def download_bundle(uri: str) -> Path:
    """The bundle inside the model at `uri`, such as `models:/digits@champion`; raises `UserError`."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7 of them take two minutes
    import mlflow
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(default_uri())
    folder = tempfile.mkdtemp(prefix="quorate-model-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        model = Path(download_artifacts(artifact_uri=uri, dst_path=folder))
    except (MlflowException, OSError) as error:
        lines = str(error).strip().splitlines()
        raise UserError(f"--run {uri}: {lines[0] if lines else type(error).__name__}") from None
    bundle = model / "artifacts" / "bundle"
    if not bundle.is_dir():
        raise UserError(f"--run {uri}: this model was not logged by Quorate, it holds no bundle")
    return bundle
