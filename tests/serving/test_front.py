"""The HTTP interface without Ray: routes, rejected requests, and responses if the model is unavailable."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest

from quorate.data.signature import Column, ImageSignature, TableSignature
from quorate.serving.auth import digest
from quorate.serving.errors import ModelFailed, ModelUnavailable, RowRefused
from quorate.serving.front import Front
from quorate.serving.limits import Limits
from quorate.serving.model import ModelInfo, Scores

MODEL = ModelInfo("digits", "0123456789ab", ("no", "yes"), ImageSignature((2, 2, 1)))
LIMITS = Limits(batch_wait_s=0, queued_rows=2, body_bytes=1000, request_timeout_s=0.3)
ROW = {"inputs": [[1, 2], [3, 4]]}


@dataclass
class Backend:
    """Predicts "yes" with the probability of the first pixel; late or with an error if the test requires it."""

    model: ModelInfo = MODEL
    error: Exception | None = None
    seconds: float = 0.0
    calls: list[int] = field(default_factory=list)
    lost: tuple[str, ...] = ()

    @property
    def current(self) -> Backend:
        return self

    async def predict(self, rows: np.ndarray, members: bool) -> Scores:
        self.calls.append(len(rows))
        await self._work()
        yes = rows[:, 0, 0, 0] / 255
        proba = np.stack([1 - yes, yes], axis=1)
        return Scores(proba, {"one": proba} if members else {}, {name: np.ones(len(rows), bool) for name in self.lost})

    async def describe(self) -> dict[str, Any]:
        await self._work()
        return {"job": self.model.job}

    async def _work(self) -> None:
        await asyncio.sleep(self.seconds)
        if self.error:
            raise self.error


def ask(
    method: str,
    path: str,
    backend: Backend | None = None,
    *,
    token: str | None = None,
    times: int = 1,
    **request: Any,
) -> list[httpx.Response]:
    """The responses to `times` equal concurrent requests."""

    async def run() -> list[httpx.Response]:
        app = Front(backend or Backend(), limits=LIMITS, token=digest(token) if token else None).app()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://front") as client:
            return await asyncio.gather(*(client.request(method, path, **request) for _ in range(times)))

    return asyncio.run(run())


def test_an_answer_names_the_model_the_class_and_every_probability() -> None:
    (answer,) = ask("POST", "/v1/predict", json={"inputs": [[[51, 0], [0, 0]], [[255, 0], [0, 0]]]})

    assert answer.json() == {
        "model": {"job": "digits", "version": "0123456789ab"},
        "predictions": [
            {"class": "no", "index": 0, "confidence": 0.8, "probabilities": {"no": 0.8, "yes": 0.2}},
            {"class": "yes", "index": 1, "confidence": 1.0, "probabilities": {"no": 0.0, "yes": 1.0}},
        ],
    }


def test_members_that_did_not_answer_are_named() -> None:
    (answer,) = ask("POST", "/v1/predict", Backend(lost=("svm",)), json=ROW)

    assert answer.json()["model"]["lost"] == ["svm"]


def test_the_index_lists_the_routes() -> None:
    (answer,) = ask("GET", "/")

    assert set(answer.json()["routes"]) == {"POST /v1/predict", "GET /v1/metadata", "GET /healthz"}


@pytest.mark.parametrize("path", ["/v2", "/v1/predict/", "/../etc", "/v1/predictions"])
def test_an_unknown_route_gets_404_as_json(path: str) -> None:
    (answer,) = ask("GET", path, follow_redirects=True)

    assert answer.status_code in (404, 405)
    assert answer.json()["error"]["field"] == "path"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/v1/predict", {"POST"}), ("POST", "/healthz", {"GET", "HEAD"}), ("DELETE", "/", {"GET", "HEAD"})],
)
def test_a_wrong_method_gets_405_with_the_right_ones(method: str, path: str, allowed: set[str]) -> None:
    (answer,) = ask(method, path)

    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    ("request_", "status", "name"),
    [
        ({"json": {"inputs": [[1, 2], [3, 400]]}}, 422, "inputs[1][1]"),
        ({"content": json.dumps(ROW)}, 415, "Content-Type"),
        ({"json": ROW, "params": {"members": "perhaps"}}, 400, "members"),
        ({"content": b"", "headers": {"Content-Type": "application/json"}}, 400, "body"),
        ({"content": b" " * 1001, "headers": {"Content-Type": "application/json"}}, 413, "body"),
    ],
)
def test_an_invalid_request_is_rejected_with_the_field_before_the_model(
    request_: dict[str, Any], status: int, name: str
) -> None:
    backend = Backend()

    (answer,) = ask("POST", "/v1/predict", backend, **request_)

    assert (answer.status_code, answer.json()["error"]["field"]) == (status, name)
    assert backend.calls == []


def test_without_the_token_only_the_health_route_responds() -> None:
    routes = [("GET", "/"), ("GET", "/v1/metadata"), ("POST", "/v1/predict"), ("GET", "/healthz")]

    statuses = [ask(method, path, token="x" * 16)[0].status_code for method, path in routes]

    assert statuses == [401, 401, 401, 200]


def test_with_the_token_every_route_responds() -> None:
    headers = {"Authorization": "bearer " + "x" * 16}

    (answer,) = ask("POST", "/v1/predict", token="x" * 16, json=ROW, headers=headers)

    assert answer.status_code == 200


def test_an_unavailable_model_gives_503_with_retry_after() -> None:
    backend = Backend(error=ModelUnavailable("1 of 3 members answered"))

    for method, path in (("POST", "/v1/predict"), ("GET", "/v1/metadata"), ("GET", "/healthz")):
        (answer,) = ask(method, path, backend, **({"json": ROW} if method == "POST" else {}))
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json() == {"error": {"message": "1 of 3 members answered"}}


def test_a_failed_model_gives_500_without_its_internals() -> None:
    (answer,) = ask("POST", "/v1/predict", Backend(error=ModelFailed("secret path")), json=ROW)

    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_a_model_that_hangs_gives_504() -> None:
    (answer,) = ask("POST", "/v1/predict", Backend(seconds=2), json=ROW)

    assert answer.status_code == 504


def test_a_full_queue_gives_503_at_once() -> None:
    answers = ask("POST", "/v1/predict", Backend(seconds=0.1), times=12, json=ROW)

    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 503)


def test_bodies_that_exceed_the_total_limit_get_503_and_release_their_memory() -> None:
    # given: room for the bodies of three such requests
    length = len(json.dumps(ROW, separators=(",", ":")))
    limits = Limits(batch_wait_s=0, held_bytes=3 * length)

    async def run() -> tuple[list[httpx.Response], httpx.Response]:
        transport = httpx.ASGITransport(Front(Backend(seconds=0.1), limits=limits).app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://front") as client:
            together = await asyncio.gather(*(client.post("/v1/predict", json=ROW) for _ in range(5)))
            return together, await client.post("/v1/predict", json=ROW)

    # when
    together, after = asyncio.run(run())

    # then
    assert sorted(answer.status_code for answer in together) == [200, 200, 200, 503, 503]
    refused = [answer for answer in together if answer.status_code == 503]
    assert {(answer.headers["retry-after"], answer.headers["connection"]) for answer in refused} == {("1", "close")}
    assert refused[0].json()["error"]["field"] == "body"
    assert after.status_code == 200


@dataclass
class Switching:
    """Successive versions; the test switches `current` to the next one."""

    versions: list[Backend]
    at: int = 0

    @property
    def current(self) -> Backend:
        return self.versions[self.at]


def test_a_request_is_answered_by_the_version_that_was_current_at_its_arrival() -> None:
    # given: a version that takes its time, and one whose classes stand in another order
    old = Backend(seconds=0.1)
    new = Backend(ModelInfo("digits", "ba9876543210", ("yes", "no"), ImageSignature((2, 2, 1))))
    backend = Switching([old, new])

    # when: the first request is at the model and the second waits, the versions are switched; then a third comes
    async def run() -> list[httpx.Response]:
        app = Front(backend, limits=Limits(batch_wait_s=0)).app()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://front") as client:
            first = asyncio.create_task(client.post("/v1/predict", json=ROW))
            while not old.calls:
                await asyncio.sleep(0.001)
            second = asyncio.create_task(client.post("/v1/predict", json=ROW))
            await asyncio.sleep(0.05)
            backend.at = 1
            third = asyncio.create_task(client.post("/v1/predict", json=ROW))
            return list(await asyncio.gather(first, second, third))

    answers = [answer.json() for answer in asyncio.run(run())]

    # then
    assert [answer["model"]["version"] for answer in answers] == ["0123456789ab"] * 2 + ["ba9876543210"]
    assert (old.calls, new.calls) == ([1, 1], [1])


TABLE = ModelInfo(
    "people",
    "0123456789ab",
    ("no", "yes"),
    TableSignature((Column("age", "numeric"), Column("job", "categorical"))),
    weightless=("idle",),
)


@dataclass
class Columns(Backend):
    """Rows of a table: ages above 100 and the job "zebra" are unlike the training rows, member two lost row 0."""

    model: ModelInfo = TABLE

    async def predict(self, rows: np.ndarray, members: bool) -> Scores:
        if self.error:
            raise self.error
        proba = np.full((len(rows), 2), 0.5)
        ages, jobs = np.array([row[0] > 100 for row in rows]), np.array([row[1].startswith("z") for row in rows])
        each = {"one": proba, "two": proba} if members else {}
        return Scores(proba, each, {"two": np.arange(len(rows)) == 0}, {"age": ages, "job": jobs})


def test_unfamiliar_values_and_additional_keys_cause_warnings() -> None:
    rows = [{"age": 20, "job": "zebra"}, {"age": 500, "job": "nurse", "shoe": 42}]

    (answer,) = ask("POST", "/v1/predict", Columns(), json={"inputs": rows})

    far = "the number is far outside the range of the training rows"
    assert answer.json()["warnings"] == [
        {"field": "shoe", "message": "the ensemble has no such column; the key is ignored"},
        {"row": 1, "column": "age", "value": 500, "message": far},
        {"row": 0, "column": "job", "value": "zebra", "message": "no training row has this category"},
    ]


def test_rows_like_the_training_rows_have_no_warnings() -> None:
    (answer,) = ask("POST", "/v1/predict", Columns(), json={"inputs": [{"age": 20, "job": "nurse"}]})

    assert "warnings" not in answer.json()


def test_a_response_lists_at_most_twenty_warnings_and_counts_the_others() -> None:
    rows = [{"age": 500, "job": "z"}] * 30

    (answer,) = ask("POST", "/v1/predict", Columns(), json={"inputs": rows})

    assert (len(answer.json()["warnings"]), answer.json()["warnings_left_out"]) == (20, 40)


def test_members_without_weight_are_named_and_failed_rows_have_no_probabilities() -> None:
    rows = [{"age": 20, "job": "nurse"}] * 2

    (answer,) = ask("POST", "/v1/predict?members=true", Columns(), json={"inputs": rows})

    said = answer.json()
    assert said["model"]["members_without_weight"] == ["idle"] and said["model"]["lost"] == ["two"]
    assert [list(row["members"]) for row in said["predictions"]] == [["one"], ["one", "two"]]


def test_a_row_that_the_model_rejects_gives_422() -> None:
    backend = Columns(error=RowRefused("holds 3e50", "age", 1))

    (answer,) = ask("POST", "/v1/predict", backend, json={"inputs": [{"age": 20, "job": "nurse"}]})

    assert answer.status_code == 422
    assert answer.json()["error"] == {"field": "inputs[1].age", "message": "holds 3e50"}


@pytest.mark.parametrize("path", ["/", "/v1/metadata", "/v1/predict"])
def test_an_unknown_query_parameter_is_refused_on_every_route(path: str) -> None:
    (answer,) = ask("POST" if "predict" in path else "GET", f"{path}?Members=true", json=ROW)

    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "Members")


def test_a_key_with_invalid_unicode_is_rejected_like_other_keys() -> None:
    headers = {"Content-Type": "application/json"}

    (answer,) = ask("POST", "/v1/predict", content=b'{"\\ud800": 1}', headers=headers)

    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == chr(0xD800)
