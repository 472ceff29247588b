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
    import mlflow
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(default_uri())
    folder = tempfile.mkdtemp(prefix="quorate-model-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        with _quiet_and_brief():
            model = Path(download_artifacts(artifact_uri=uri, dst_path=folder))
    except (MlflowException, OSError) as error:
        lines = without_secrets(str(error)).strip().splitlines()
        raise UserError(f"--run {uri}: {lines[0] if lines else type(error).__name__}") from None
    bundle = model / "artifacts" / "bundle"
    if not bundle.is_dir():
        raise UserError(f"--run {uri}: this model has no bundle; Quorate did not log it")
    return bundle


@contextmanager
def _quiet_and_brief() -> Iterator[None]:
    """Run MLflow without progress bars and with 2 retries, unless the user has set these; its default of 7 retries
    takes two minutes."""
    chosen = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
    ours = {name: value for name, value in chosen.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
