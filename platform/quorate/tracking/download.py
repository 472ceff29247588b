"""Download the bundle of a registered model into a temporary folder, which exists until the process ends."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quorate.errors import UserError, without_secrets
from quorate.tracking.shipper_process import default_uri


def download_bundle(uri: str) -> Path:
    """Return the bundle of the model at `uri`, such as `models:/digits@champion`; raises `UserError`."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    folder = tempfile.mkdtemp(prefix="quorate-model-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        with _settings():
            model = Path(download_artifacts(artifact_uri=uri, dst_path=folder))
    except (MlflowException, OSError) as error:
        lines = without_secrets(str(error)).strip().splitlines()
        raise UserError(f"--run {uri}: {lines[0] if lines else type(error).__name__}") from None
    bundle = model / "artifacts" / "bundle"
    if not bundle.is_dir():
        raise UserError(f"--run {uri}: this model has no bundle; Quorate did not log it")
    return bundle


@contextmanager
def _settings() -> Iterator[None]:
    """Let MLflow use `default_uri`, and, unless the user has set them, no progress bars and 2 retries; its default of
    7 retries takes two minutes.

    These are variables, as `mlflow.set_tracking_uri` would change this process for good.
    """
    standard = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
    before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", *standard)}
    os.environ.update({**standard, **os.environ, "MLFLOW_TRACKING_URI": default_uri()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
