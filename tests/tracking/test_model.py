import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from numpy.typing import NDArray
from tests.jobs import Here
from tests.tracking.runs import write_bundle

from quorate.tracking.model import register


@pytest.fixture
def client(uri: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return MlflowClient(uri)


def register_in_new_run(client: MlflowClient, bundle: Path, experiment: str = "digits") -> str:
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    run_id: str = client.create_run(experiment_id).info.run_id
    register(client, run_id=run_id, experiment_id=experiment_id, bundle=bundle, name="digits")
    return run_id


def champion(client: MlflowClient) -> str:
    return str(client.get_model_version_by_alias("digits", "champion").version)


def test_the_model_is_in_the_run_and_in_the_registry_with_its_signature(client: MlflowClient, tmp_path: Path) -> None:
    run_id = register_in_new_run(client, write_bundle(tmp_path / "a", np.ones(9)))

    run = client.get_run(run_id)
    version = client.get_model_version("digits", "1")
    (output,) = run.outputs.model_outputs
    info = mlflow.models.get_model_info("models:/digits/1")
    assert version.run_id == run_id
    assert version.source == f"models:/{output.model_id}"
    assert run.data.tags["quorate.model"] == "models:/digits/1"
    assert info.signature.to_dict() == {
        "inputs": json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 8, 8, 1]}}]),
        "outputs": json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]),
        "params": None,
    }
    saved = Path(mlflow.artifacts.download_artifacts("models:/digits/1", dst_path=str(tmp_path / "got")))
    assert (saved / "code" / "quorate" / "tracking" / "pyfunc_model.py").exists()
    assert not list(saved.rglob("__pycache__"))
    assert not list(saved.rglob("*.pkl"))
    requirements = (saved / "requirements.txt").read_text().split()
    assert f"numpy=={np.__version__}" in requirements
    assert all("==" in line and "+" not in line for line in requirements)


def test_the_same_bundle_is_registered_once(client: MlflowClient, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a", np.ones(9))
    first = register_in_new_run(client, bundle)
    experiment_id = client.get_run(first).info.experiment_id

    register(client, run_id=first, experiment_id=experiment_id, bundle=bundle, name="digits")
    second = register_in_new_run(client, bundle)

    assert len(client.search_model_versions("name = 'digits'")) == 1
    assert len(client.search_logged_models([experiment_id])) == 1
    assert len(client.get_run(first).outputs.model_outputs) == 1
    assert "quorate.model.reused" not in client.get_run(first).data.tags
    tags = client.get_run(second).data.tags
    assert tags["quorate.model.reused"] == "the same bundle is version 1 already"
    assert tags["quorate.champion"] == "moved"


def test_a_registration_cut_short_is_finished_and_not_begun_again(client: MlflowClient, tmp_path: Path) -> None:
    # given: killed after the model was uploaded, before it had a version
    bundle = write_bundle(tmp_path / "a", np.ones(9))
    run_id = register_in_new_run(client, bundle)
    experiment_id = client.get_run(run_id).info.experiment_id
    client.delete_registered_model("digits")

    register(client, run_id=run_id, experiment_id=experiment_id, bundle=bundle, name="digits")

    (model,) = client.search_logged_models([experiment_id])
    (version,) = client.search_model_versions("name = 'digits'")
    assert version.source == f"models:/{model.model_id}"
    assert champion(client) == str(version.version)


def test_the_champion_moves_to_a_better_ensemble_on_the_same_data_only(client: MlflowClient, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(scale=0.1, size=200)
    bundles = {
        "first": write_bundle(tmp_path / "first", 1 + noise),
        "worse": write_bundle(tmp_path / "worse", 1.5 + noise**2),
        "other": write_bundle(tmp_path / "other", np.zeros(200), fingerprint="other data"),
        "better": write_bundle(tmp_path / "better", 0.5 + noise**2),
    }

    seen = {}
    for name, bundle in bundles.items():
        run = client.get_run(register_in_new_run(client, bundle))
        seen[name] = (run.data.tags["quorate.champion"], champion(client))
        version = run.data.tags["quorate.model"].rpartition("/")[2]
        assert client.get_model_version("digits", version).tags["quorate.champion"] == seen[name][0]

    assert seen == {"first": ("moved", "1"), "worse": ("kept", "1"), "other": ("kept", "1"), "better": ("moved", "4")}
    tags = client.get_model_version("digits", "4").tags
    assert float(tags["quorate.champion.difference"]) == pytest.approx(np.mean(0.5 + noise - noise**2))
    assert "different data" in client.get_model_version("digits", "3").tags["quorate.champion.reason"]


def test_a_champion_of_somebody_else_stays(client: MlflowClient, tmp_path: Path) -> None:
    client.create_registered_model("digits")
    (tmp_path / "theirs").mkdir()
    client.create_model_version("digits", str(tmp_path / "theirs"), tags={"quorate.fingerprint": "data"})
    client.set_registered_model_alias("digits", "champion", "1")

    register_in_new_run(client, write_bundle(tmp_path / "a", np.ones(9)))

    assert champion(client) == "1"
    reason = client.get_model_version("digits", "2").tags["quorate.champion.reason"]
    assert reason == "the champion has no out-of-fold losses to compare with"


@pytest.mark.slow
def test_mlflow_loads_and_serves_a_bundle_without_pickle(
    client: MlflowClient, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quorate.bundle import Bundle

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    bundle = Bundle.load(tiny_bundle)
    height, width, channels = bundle.manifest["input"]["shape"]
    images = np.random.default_rng(0).integers(0, 256, (3, height, width, channels), dtype=np.uint8)
    expected = np.asarray(bundle.predict(images).proba)

    register_in_new_run(client, tiny_bundle)

    loaded = mlflow.pyfunc.load_model("models:/digits@champion").predict(images)
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, expected, atol=1e-6)
    np.testing.assert_allclose(
        serve("models:/digits@champion", {"inputs": images.tolist()}, tmp_path), expected, atol=1e-6
    )


@pytest.mark.slow
def test_mlflow_loads_and_serves_a_bundle_of_a_table(
    client: MlflowClient, tmp_path: Path, customers: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quorate.bundle import Bundle

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    bundle = customers.newest_run() / "bundle"
    frame = pd.read_csv(customers.folder / "new.csv", na_values="?")
    expected = Bundle.load(bundle).predict(frame).proba

    register_in_new_run(client, bundle)

    info = mlflow.models.get_model_info("models:/digits@champion")
    assert info.signature.inputs.input_names() == ["age", "visits", "job", "club"]
    assert info.metadata["quorate.input"]["columns"][3] == {"name": "club", "kind": "boolean"}
    model = mlflow.pyfunc.load_model("models:/digits@champion")
    np.testing.assert_allclose(model.predict(frame), expected, atol=1e-6)
    with pytest.raises(ValueError, match="the column 'age' is missing"):
        model.predict(frame.drop(columns="age"))
    answer = serve(
        "models:/digits@champion", {"dataframe_records": json.loads(frame.to_json(orient="records"))}, tmp_path
    )
    np.testing.assert_allclose(answer, expected, atol=1e-6)


def serve(model: str, body: dict[str, Any], folder: Path) -> NDArray[np.float64]:
    """The answer of a real `mlflow models serve`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "serve.log").open("wb") as output:
        # MLflow looks for uvicorn on the path
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return np.array(json.load(answer)["predictions"])
            except urllib.error.HTTPError as error:
                raise AssertionError(error.read().decode()) from error
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (folder / "serve.log").read_text()
                time.sleep(0.3)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
