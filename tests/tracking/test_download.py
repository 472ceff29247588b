"""The bundle of a registered model is downloaded, and MLflow's settings of the process stay as they were."""

from __future__ import annotations

import os
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from tests.tracking.runs import write_bundle

from quorate.bundle import MANIFEST
from quorate.errors import UserError
from quorate.tracking.download import download_bundle
from quorate.tracking.model import register


def settings() -> dict[str, str]:
    """What MLflow reads from the environment, and the server that it would use."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    return {**variables, "used": mlflow.get_tracking_uri()}


def test_a_bundle_comes_from_the_registry_and_the_process_keeps_its_settings(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "bundle", np.ones(9))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(uri)
    experiment = client.create_experiment("digits")
    run = client.create_run(experiment).info.run_id
    register(client, run_id=run, experiment_id=experiment, bundle=bundle, name="digits")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # `mlflow.db` in the current folder, which is that of the test
    before = settings()

    found = download_bundle("models:/digits@champion")

    assert (found / MANIFEST).read_bytes() == (bundle / MANIFEST).read_bytes()
    assert settings() == before


def test_a_server_that_does_not_answer_is_named_without_its_password_and_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:canary@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = settings()

    with pytest.raises(UserError, match=r"--run models:/digits@champion: .*127\.0\.0\.1") as refused:
        download_bundle("models:/digits@champion")

    assert "canary" not in str(refused.value)
    assert settings() == before
