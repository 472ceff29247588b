"""A real Ray Serve on a loopback port, driven by a real HTTP client."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.serving import quarters

from quorate.serving import service
from quorate.serving.auth import digest
from quorate.serving.limits import Limits

pytestmark = pytest.mark.system

TOKEN = "a token of these tests"
LIMITS = Limits(body_bytes=200_000, body_timeout_s=2.0, request_timeout_s=30.0, batch_wait_s=0.02)


@pytest.fixture(scope="module")
def url(ray_session: None, model_folder: Path) -> Iterator[str]:
    from quorate.serving.application import deploy

    port = service.free_port("127.0.0.1", 0)
    service._start_serve("127.0.0.1", port, LIMITS)
    deploy(model_folder, limits=LIMITS, token=digest(TOKEN), allow_code=True)
    yield f"http://127.0.0.1:{port}"
    service._end_serve()


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=40) as client:
        yield client


def rows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (n, *quarters.SHAPE), dtype=np.uint8)


def expected(x: np.ndarray) -> np.ndarray:
    return np.mean([quarters.proba(x, sharpness) for sharpness in quarters.SHARPNESS.values()], axis=0)


def probabilities(answer: httpx.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.array([list(each["probabilities"].values()) for each in answer.json()["predictions"]])


def test_json_rows_get_the_probabilities_of_the_model_to_the_last_digit(client: httpx.Client) -> None:
    x = rows(5)

    answer = client.post("/v1/predict", json={"inputs": x.tolist()})

    np.testing.assert_allclose(probabilities(answer), expected(x), atol=1e-7)
    said = answer.json()
    assert said["model"]["job"] == "quarters"
    first = said["predictions"][0]
    assert first["class"] == quarters.CLASSES[expected(x)[0].argmax()]
    assert first["confidence"] == first["probabilities"][first["class"]]
    assert "members" not in first


@pytest.mark.parametrize("media", ["png", "jpeg"])
def test_a_picture_gets_the_answer_of_its_pixels(client: httpx.Client, media: str) -> None:
    x = rows(1)
    file = BytesIO()
    Image.fromarray(x[0, :, :, 0]).save(file, media, quality=100)
    decoded = np.asarray(Image.open(file)).reshape(1, *quarters.SHAPE)

    answer = client.post("/v1/predict", content=file.getvalue(), headers={"Content-Type": f"image/{media}"})

    np.testing.assert_allclose(probabilities(answer), expected(decoded), atol=1e-7)


def test_the_answer_has_the_probabilities_of_the_members_on_request(client: httpx.Client) -> None:
    x = rows(3)

    answer = client.post("/v1/predict?members=true", json={"inputs": x.tolist()})

    for i, prediction in enumerate(answer.json()["predictions"]):
        for name, sharpness in quarters.SHARPNESS.items():
            told = list(prediction["members"][name].values())
            np.testing.assert_allclose(told, quarters.proba(x, sharpness)[i], atol=1e-7)


def test_metadata_contain_classes_input_and_members(client: httpx.Client) -> None:
    told = client.get("/v1/metadata").json()

    assert told["class_names"] == quarters.CLASSES
    assert told["input"]["shape"] == list(quarters.SHAPE)
    assert [member["weight"] for member in told["members"]] == [0.5, 0.5]
    assert len(told["version"]) == 12


def test_a_request_without_the_token_gets_401_and_health_is_open(url: str) -> None:
    for authorization in (None, "Bearer wrong", f"Basic {TOKEN}"):
        headers = {"Authorization": authorization} if authorization else {}
        answer = httpx.post(f"{url}/v1/predict", json={"inputs": rows(1).tolist()}, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert httpx.get(f"{url}/v1/metadata").status_code == 401
    assert httpx.get(f"{url}/healthz").status_code == 200


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_above_the_limit_gets_413(client: httpx.Client, chunked: bool) -> None:
    body = b"[" + b"0," * 1_000_000

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    answer = client.post(
        "/v1/predict",
        content=chunks() if chunked else body,
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 413
    assert answer.json()["error"]["expected"] == "at most 200,000 bytes"


def test_a_body_that_never_ends_gets_408(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" "
            time.sleep(0.1)

    start = time.monotonic()
    answer = client.post("/v1/predict", content=chunks(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 408
    assert time.monotonic() - start < 10


def test_bad_input_is_refused_with_its_place(client: httpx.Client) -> None:
    wrong = rows(4).tolist()
    wrong[3][1][2][0] = -1

    answer = client.post("/v1/predict", json={"inputs": wrong})

    assert answer.status_code == 422
    assert answer.json() == {
        "error": {
            "field": "inputs[3][1][2][0]",
            "message": "found -1",
            "expected": "an integer from 0 to 255",
        }
    }


def test_a_lost_quorum_gets_503_with_retry_after(client: httpx.Client) -> None:
    white = np.full((1, *quarters.SHAPE), 255)

    answer = client.post("/v1/predict", json={"inputs": white.tolist()})

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert (
        answer.json()["error"]["message"]
        == "only 1 of 2 members can predict, but the quorum is 2; members that failed: sharp"
    )


def test_requests_at_the_same_time_share_calls_of_the_model(client: httpx.Client, model_folder: Path) -> None:
    before = len(quarters.visits(model_folder))

    def ask(seed: int) -> tuple[np.ndarray, np.ndarray]:
        x = rows(1 + seed % 3, seed)
        return expected(x), probabilities(client.post("/v1/predict", json={"inputs": x.tolist()}))

    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(ask, range(50)))

    for right, told in answers:
        np.testing.assert_allclose(told, right, atol=1e-7)
    calls = len(quarters.visits(model_folder)) - before
    assert 0 < calls < 50


def test_a_killed_replica_is_replaced_and_no_request_fails(client: httpx.Client, model_folder: Path) -> None:
    x = rows(1)
    client.post("/v1/predict", json={"inputs": x.tolist()})
    first = quarters.visits(model_folder)[-1]

    os.kill(first, signal.SIGKILL)
    answers = [client.post("/v1/predict", json={"inputs": x.tolist()}) for _ in range(10)]

    assert [answer.status_code for answer in answers] == [200] * 10
    np.testing.assert_allclose(probabilities(answers[0]), expected(x), atol=1e-7)
    assert quarters.visits(model_folder)[-1] != first


def test_the_current_version_keeps_answering_if_a_new_one_does_not_start(client: httpx.Client, tmp_path: Path) -> None:
    from quorate.serving.application import deploy

    folder = quarters.write(tmp_path / "bundle", job="broken", broken=True)

    with pytest.raises(RuntimeError, match="the weights are damaged"):
        deploy(folder, limits=LIMITS, token=digest(TOKEN), allow_code=True)

    answer = client.post("/v1/predict", json={"inputs": rows(1).tolist()})
    assert answer.json()["model"]["job"] == "quarters"


@pytest.mark.slow
def test_a_second_version_takes_over(client: httpx.Client, tmp_path: Path) -> None:
    from quorate.serving.application import deploy

    deploy(quarters.write(tmp_path / "bundle", job="halves"), limits=LIMITS, token=digest(TOKEN), allow_code=True)

    answer = client.post("/v1/predict", json={"inputs": rows(1).tolist()})
    assert answer.json()["model"]["job"] == "halves"


@pytest.mark.slow
def test_versions_that_are_switched_under_load_never_mix(client: httpx.Client, tmp_path: Path) -> None:
    """Both versions give the same predictions, but with another order of classes, so mixed responses would be wrong."""
    from quorate.serving.application import deploy

    folders = [quarters.write(tmp_path / str(n), job=f"order {n}", reverse=bool(n)) for n in range(2)]
    for folder in folders:
        _end_former_versions(client)  # the session's Ray has processors for two
        deploy(folder, limits=LIMITS, token=digest(TOKEN), allow_code=True)
    ended = threading.Event()

    def ask(seed: int) -> set[str]:
        jobs = set()
        while not ended.is_set():
            x = rows(1 + seed % 3, seed)
            answer = client.post("/v1/predict", json={"inputs": x.tolist()})
            assert answer.status_code == 200, answer.text
            said = answer.json()
            for i, prediction in enumerate(said["predictions"]):
                told = [prediction["probabilities"][name] for name in quarters.CLASSES]
                np.testing.assert_allclose(told, expected(x)[i], atol=1e-7)
            jobs.add(said["model"]["job"])
        return jobs

    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(ask, seed) for seed in range(16)]
        try:
            for folder in (*folders, *folders, *folders):
                deploy(folder, limits=LIMITS, token=digest(TOKEN), allow_code=True)
        finally:
            ended.set()
        answered = set().union(*(each.result() for each in asked))

    assert {"order 0", "order 1"} <= answered


def _end_former_versions(client: httpx.Client) -> None:
    from ray import serve

    from quorate.serving.application import FRONT, application_name

    said = client.get("/v1/metadata").json()
    for name in serve.status().applications:
        if name not in (FRONT, application_name(said["job"], said["version"])):
            serve.delete(name)
