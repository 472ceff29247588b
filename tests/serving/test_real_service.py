"""`quorate serve` on a real bundle answers over HTTP what `quorate predict` writes."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.jobs import Here

from quorate.bundle import Bundle
from quorate.registry import DATASETS


@pytest.mark.system
def test_http_clients_get_what_offline_prediction_writes(tiny_bundle: Path, tmp_path: Path) -> None:
    digits = DATASETS.get("digits")
    pixels = digits.open(digits.Params()).test.x.take(np.arange(30))
    here = Here(tmp_path)
    np.savez(tmp_path / "new.npz", images=pixels)
    written = json.loads(here.command("predict", "new.npz", "--run", str(tiny_bundle), "--json").stdout)
    offline = np.array([[row[f"p({name})"] for name in range(10)] for row in written])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "token").write_text("a token of enough characters\n")
    service = here.start("serve", "--run", str(tiny_bundle), "--port", str(port), "--token-file", "token")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            _wait_until_healthy(client, service)
            assert service.stdout is not None
            assert "is served at" in service.stdout.readline()
            assert client.post("/v1/predict", json={"inputs": []}).status_code == 401
            client.headers["Authorization"] = "Bearer a token of enough characters"

            answer = client.post("/v1/predict?members=true", json={"inputs": pixels[..., 0].tolist()})

            assert answer.status_code == 200, answer.text
            predictions = answer.json()["predictions"]
            online = np.array([[row["probabilities"][str(name)] for name in range(10)] for row in predictions])
            np.testing.assert_allclose(online, offline, atol=1e-5)
            bundle = Bundle.load(tiny_bundle)
            members = bundle.predict(pixels, members=True).members
            assert members is not None
            for name, proba in bundle.calibrated(members).items():
                served = [[row["members"][name][str(k)] for k in range(10)] for row in predictions]
                np.testing.assert_allclose(served, proba, atol=1e-5)
            picture = io.BytesIO()
            Image.fromarray(pixels[0, ..., 0], "L").save(picture, "PNG")
            headers = {"Content-Type": "image/png"}
            one = client.post("/v1/predict", content=picture.getvalue(), headers=headers).json()["predictions"]
            assert one[0]["class"] == written[0]["class"]
            assert one[0]["probabilities"]["3"] == pytest.approx(offline[0, 3], abs=1e-5)
            assert client.get("/v1/metadata").json()["class_names"] == [str(k) for k in range(10)]
            for body in ({"inputs": [[1, 2], [3, 4]]}, {"inputs": "text"}, {}):
                refused = client.post("/v1/predict", json=body)
                assert 400 <= refused.status_code < 500
                assert "field" in refused.json()["error"]
        service.send_signal(signal.SIGINT)
        output, errors = service.communicate(timeout=30)
        assert (service.returncode, errors) == (0, "")
        assert output.splitlines()[-1] == "stopping"
    finally:
        if service.poll() is None:
            service.terminate()
            service.communicate(timeout=30)


@pytest.mark.slow
def test_http_clients_get_what_offline_prediction_writes_for_a_table(customers: Here) -> None:
    written = json.loads(customers.command("predict", "new.csv", "--json").stdout)
    offline = np.array([[row["p(no)"], row["p(yes)"]] for row in written])
    frame = pd.read_csv(customers.folder / "new.csv", na_values="?")
    records = json.loads(frame.to_json(orient="records"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = customers.start("serve", "--port", str(port))
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            _wait_until_healthy(client, service)
            assert service.stdout is not None
            lines = iter(service.stdout.readline, "")
            example = next(line for line in lines if line.strip().startswith("curl")).strip()

            answer = client.post("/v1/predict?members=true", json={"inputs": records})

            assert answer.status_code == 200, answer.text
            predictions = answer.json()["predictions"]
            online = np.array([[row["probabilities"][name] for name in ("no", "yes")] for row in predictions])
            np.testing.assert_allclose(online, offline, atol=1e-5)
            assert set(predictions[0]["members"]) == {"svm", "forest"}
            assert [row["class"] for row in predictions] == [row["class"] for row in written]
            one = client.post("/v1/predict", json={"inputs": records[7]}).json()["predictions"]
            assert one[0]["probabilities"]["yes"] == pytest.approx(offline[7, 1], abs=1e-5)
            columns = client.get("/v1/metadata").json()["input"]["columns"]
            assert [column["name"] for column in columns] == ["age", "visits", "job", "club"]
            refused = client.post("/v1/predict", json={"inputs": [*records[:3], {**records[3], "visits": "many"}]})
            assert (refused.status_code, refused.json()["error"]["field"]) == (422, "inputs[3].visits")
            assert client.post("/v1/predict", content=b"x", headers={"Content-Type": "image/png"}).status_code == 415
            pasted = subprocess.run(example, shell=True, capture_output=True, text=True, timeout=40, check=True)
            assert json.loads(pasted.stdout)["predictions"][0]["class"] in ("no", "yes")
        service.send_signal(signal.SIGINT)
        output, errors = service.communicate(timeout=30)
        assert service.returncode == 0, output + errors
    finally:
        if service.poll() is None:
            service.terminate()
            service.communicate(timeout=30)


def _wait_until_healthy(client: httpx.Client, service: object) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert service.poll() is None, service.communicate()  # type: ignore[attr-defined]
        try:
            if client.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise AssertionError("the service is not healthy after two minutes")


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_ensemble_is_served_ends_the_command_with_its_code(
    number: signal.Signals, customers: Here
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = customers.start("serve", "--port", str(port))
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not _listens(port):
            time.sleep(0.05)

        service.send_signal(number)  # Serve listens, the ensemble is not loaded yet

        output, errors = service.communicate(timeout=30)
        assert service.returncode == 128 + number, output + errors
        assert "Traceback" not in output + errors
        assert "stopped before the service was ready" in errors
    finally:
        if service.poll() is None:
            service.terminate()
            service.communicate(timeout=30)


def _listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0
