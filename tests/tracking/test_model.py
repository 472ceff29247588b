import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray
from scipy import stats
from tests.jobs import Here
from tests.tables import CUSTOMERS
from tests.tracking.runs import write_bundle

from quorate.bundle import Bundle
from quorate.tracking.model import VersionPage, register


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
    assert tags["quorate.champion"].startswith("became champion on 20")


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
        decision = run.data.tags["quorate.champion"]
        seen[name] = (decision.partition(" on ")[0], champion(client))
        version = run.data.tags["quorate.model"].rpartition("/")[2]
        assert client.get_model_version("digits", version).tags["quorate.champion"] == decision
        assert re.fullmatch(r".* on \d{4}-\d\d-\d\d \d\d:\d\d UTC", decision)

    won, lost = "became champion", "did not become champion"
    assert seen == {"first": (won, "1"), "worse": (lost, "1"), "other": (lost, "1"), "better": (won, "4")}
    tags = client.get_model_version("digits", "4").tags
    difference = 0.5 + noise - noise**2
    assert float(tags["quorate.champion.oof_nll_lower_by"]) == pytest.approx(np.mean(difference), rel=1e-5)
    assert float(tags["quorate.champion.standard_error"]) == pytest.approx(stats.sem(difference), rel=1e-5)
    assert tags["quorate.champion.compared_with"] == "version 1"
    assert client.get_model_version("digits", "1").tags["quorate.champion.replaced_by"] == "version 4"
    worse = client.get_model_version("digits", "2").tags["quorate.champion.reason"]
    assert worse.startswith(f"out-of-fold log-loss higher by {np.mean(0.5 + noise**2 - noise):.5f} on 200 rows")
    assert "different data" in client.get_model_version("digits", "3").tags["quorate.champion.reason"]


def test_decisions_of_earlier_versions_are_kept(client: MlflowClient, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a", np.ones(9))
    run_id = register_in_new_run(client, bundle)
    client.set_model_version_tag("digits", "1", "quorate.champion", "kept")
    client.delete_registered_model_alias("digits", "champion")

    register(
        client, run_id=run_id, experiment_id=client.get_run(run_id).info.experiment_id, bundle=bundle, name="digits"
    )

    assert client.get_registered_model("digits").aliases == {}
    assert client.get_run(run_id).data.tags["quorate.champion"] == "did not become champion"


def test_a_version_has_a_description_and_its_metrics_once(client: MlflowClient, tmp_path: Path) -> None:
    experiment_id = client.create_experiment("digits")
    run_id = client.create_run(experiment_id).info.run_id
    client.log_metric(run_id, "oof_nll", 0.25, timestamp=5, step=0)
    shown = VersionPage("digits-1", "| member |", {"oof_nll": 0.25}, ("confusion-oof.png",))
    bundle = write_bundle(tmp_path / "a", np.ones(9))

    for _ in range(2):  # the second time as after a crash
        register(client, run_id=run_id, experiment_id=experiment_id, bundle=bundle, name="digits", shown=shown)

    version = client.get_model_version("digits", "1")
    assert "It **became champion on 20" in version.description
    assert f"[digits-1](#/experiments/{experiment_id}/runs/{run_id})" in version.description
    assert "| member |" in version.description
    assert f"get-artifact?run_uuid={run_id}&path=plots/confusion-oof.png" in version.description
    assert version.tags["quorate.run_folder"] == "digits-1"
    assert version.tags["oof_nll"] == "0.25"
    assert "alias `champion`" in client.get_registered_model("digits").description
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert [(metric.key, metric.value) for metric in model.metrics] == [("oof_nll", 0.25)]
    assert len(client.get_metric_history(run_id, "oof_nll")) == 1


def test_a_description_written_by_a_user_is_kept(client: MlflowClient, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "a", np.ones(9))
    run_id = register_in_new_run(client, bundle)
    client.update_model_version("digits", "1", "ours")

    register(
        client, run_id=run_id, experiment_id=client.get_run(run_id).info.experiment_id, bundle=bundle, name="digits"
    )

    assert client.get_model_version("digits", "1").description == "ours"


def test_a_champion_from_another_source_is_kept(client: MlflowClient, tmp_path: Path) -> None:
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
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    bundle = Bundle.load(tiny_bundle)
    height, width, channels = bundle.signature.shape
    images = np.random.default_rng(0).integers(0, 256, (3, height, width, channels), dtype=np.uint8)
    expected = np.asarray(bundle.predict(images).proba)

    register_in_new_run(client, tiny_bundle)

    loaded = mlflow.pyfunc.load_model("models:/digits@champion").predict(images)
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, expected, atol=1e-6)
    with served("models:/digits@champion", tmp_path) as ask:
        answer = ask(json.dumps({"inputs": images.tolist()}), "application/json")
    np.testing.assert_allclose(answer, expected, atol=1e-6)


@pytest.mark.slow
def test_mlflow_serves_a_table_in_every_form_of_body(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: whole numbers, categories that look like numbers, truth values, and each of them missing somewhere
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    here = Here(tmp_path)
    rng = np.random.default_rng(0)
    shop = rng.choice(["007", "07", "7"], 240)
    rooms = rng.integers(1, 6, 240)
    y = (shop == "007") | (rooms == 5)
    frame = pd.DataFrame(
        {
            "shop": np.where(rng.random(240) < 0.1, "", shop),
            "rooms": rooms,
            "price": rng.normal(size=240).round(3),
            "open": rng.choice(["yes", "no", ""], 240),
        }
    )
    frame.assign(y=np.where(y, "a", "b")).to_csv(tmp_path / "train.csv", index=False)
    data = {"kind": "csv", "train": "train.csv", "label": "y", "columns": {"shop": "categorical"}}
    here.run({**CUSTOMERS, "data": data})
    bundle = here.newest_run() / "bundle"
    text = "shop,rooms,price,open\n007,5,1,yes\n07,2,-3,no\n,,0.5,\n7,1,,yes\n"
    rows = [["007", 5, 1, True], ["07", 2, -3, False], [None, None, 0.5, None], ["7", 1, None, True]]
    names = ["shop", "rooms", "price", "open"]
    typed = pd.DataFrame(
        {
            "shop": ["007", "07", None, "7"],
            "rooms": [5.0, 2.0, np.nan, 1.0],
            "price": [1, -3, 0.5, np.nan],
            "open": ["yes", "no", None, "yes"],
        }
    )
    expected = Bundle.load(bundle).predict(typed).proba
    assert np.abs(np.diff(expected[:, 0])).min() > 0.01, "the rows differ, so no body can be right by chance"

    # when
    register_in_new_run(client, bundle)

    # then
    info = mlflow.models.get_model_info("models:/digits@champion")
    assert [(column.name, column.type.name, column.required) for column in info.signature.inputs.inputs] == [
        ("shop", "string", False),
        ("rooms", "double", False),
        ("price", "double", False),
        ("open", "string", False),
    ]
    bodies = {
        "csv": (text, "text/csv"),
        "csv with spare columns": (text.replace("\n", ",x\n"), "text/csv"),
        "split": (json.dumps({"dataframe_split": {"columns": names, "data": rows}}), "application/json"),
        "records": (
            json.dumps({"dataframe_records": [dict(zip(names, row, strict=True)) for row in rows]}),
            "application/json",
        ),
    }
    with served("models:/digits@champion", tmp_path) as ask:
        for body, kind in bodies.values():
            np.testing.assert_allclose(ask(body, kind), expected, atol=1e-6)
        with pytest.raises(AssertionError, match="could not convert string to float"):
            ask(text.replace("-3", "cheap"), "text/csv")
        with pytest.raises(AssertionError, match="the column 'rooms' is missing"):
            ask("shop,price,open\n007,1,yes\n", "text/csv")

    model = mlflow.pyfunc.load_model("models:/digits@champion")
    np.testing.assert_allclose(model.predict(typed), expected, atol=1e-6)
    schema = model.metadata.get_input_schema()
    whole = typed.iloc[:2].astype({"rooms": "int64", "price": "int64"}).assign(open=[True, False])
    cast = whole.astype(dict(zip(schema.input_names(), schema.pandas_types(), strict=True)))
    np.testing.assert_allclose(model.predict(cast), expected[:2], atol=1e-6)
    with pytest.raises(MlflowException, match=r"column rooms\. Can not safely convert int64 to float64"):
        model.predict(whole)


@contextlib.contextmanager
def served(model: str, folder: Path) -> Iterator[Callable[[str, str], NDArray[np.float64]]]:
    """A real `mlflow models serve`: asked with a body and its type, it gives probabilities."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]

    def ask(body: str, kind: str) -> NDArray[np.float64]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", data=body.encode(), headers={"Content-Type": kind}
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

    with (folder / "serve.log").open("wb") as output:
        # MLflow looks for uvicorn on the path
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        yield ask
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
