"""200 clients with valid requests get the exact predictions of the bundle, whatever others send at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import socket
import time
from collections import Counter
from typing import Any

import httpx
import numpy as np
import pytest
from tests.jobs import Here
from tests.tables import CUSTOMERS, customers

from quorate.bundle import Bundle

CLIENTS = 200
ROUNDS = 4
"""Requests of each client, one after another."""
HOSTILE = 40
GOOD = {"age": 35.0, "visits": 4, "job": "nurse", "club": "yes"}
JSON = {"Content-Type": "application/json"}


def rows_with(**changes: Any) -> bytes:
    return json.dumps({"inputs": [GOOD, {**GOOD, **changes}]}).encode()


BODIES: dict[str, tuple[bytes, dict[str, str], set[int]]] = {
    "1e39": (rows_with(age=1e39), JSON, {422}),
    "9.97e36": (rows_with(age=9.969209968386869e36), JSON, {422}),
    "NaN": (rows_with(age=float("nan")), JSON, {422}),
    "Infinity": (rows_with(visits=float("-inf")), JSON, {422}),
    "an integer of 400 digits": (rows_with(age=10**400), JSON, {422}),
    "an integer of 5,000 digits": (b'{"inputs": [{"age": ' + b"9" * 5000 + b"}]}", JSON, {400}),
    "a truth value for a number": (rows_with(age=True), JSON, {422}),
    "text for a number": (rows_with(visits="many"), JSON, {422}),
    "a number for a truth value": (rows_with(club=2), JSON, {422}),
    "a list for a category": (rows_with(job=["nurse"]), JSON, {422}),
    "a missing key": (b'{"inputs": [{"age": 1}]}', JSON, {422}),
    "a key that stands twice": (rows_with().replace(b'"age"', b'"age": 1, "age"', 1), JSON, {422}),
    "no rows": (b'{"inputs": []}', JSON, {422}),
    "too many rows": (json.dumps({"inputs": [GOOD] * 1025}).encode(), JSON, {413}),
    "broken JSON": (b'{"inputs": [{', JSON, {400}),
    "deep nesting": (b"[" * 100_000, JSON, {400}),
    "no UTF-8": (b"\xff\xfe{}", JSON, {400}),
    "half a surrogate pair as a key": (b'{"\\ud800": 1}', JSON, {422}),
    "another content type": (rows_with(), {"Content-Type": "text/csv"}, {415}),
    "a compressed body": (rows_with(), {**JSON, "Content-Encoding": "gzip"}, {415}),
    "unknown categories": (rows_with(job="\ud800 zebra \0"), JSON, {200}),
    "a text of a megabyte": (rows_with(job="x" * 1_000_000), JSON, {200}),
    "a number far from all others": (rows_with(visits=1e30), JSON, {200}),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Here:
    """Members whose probabilities for a row do not depend on the other rows of a batch, to the bit."""
    here = Here(tmp_path_factory.mktemp("storm"))
    customers(240, seed=0).to_csv(here.folder / "train.csv", index=False)
    forest = {"kind": "random_forest", "trees": 30, "min_samples_leaf": 5}
    here.run({**CUSTOMERS, "members": {"svm": {"kind": "svm", "C": 3}, "forest": forest}})
    return here


@pytest.mark.slow
@pytest.mark.system
def test_200_good_clients_get_exact_responses_despite_hostile_clients(trained: Here) -> None:
    # given: what the bundle says of each row alone, and of all together
    bundle = Bundle.load(trained.newest_run() / "bundle")
    frame = customers(CLIENTS, seed=2)[list(GOOD)]
    records = json.loads(frame.to_json(orient="records"))
    alone = np.concatenate([bundle.predict(frame.iloc[i : i + 1]).proba for i in range(len(frame))])
    np.testing.assert_array_equal(bundle.predict(frame).proba, alone)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = trained.start("serve", "--port", str(port))

    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}", service)

        # when
        told, refused = asyncio.run(asyncio.wait_for(_storm(port, records), 240))

        # then
        assert len(told) == CLIENTS * ROUNDS
        assert Counter(status for _, status, _ in told) == {200: CLIENTS * ROUNDS}
        wrong = [row for row, _, proba in told if proba != alone[row].tolist()]
        assert wrong == []
        for kind, statuses in refused.items():
            assert set(statuses) <= BODIES[kind][2], (kind, statuses)
        assert set(refused) == set(BODIES)
        print(f"{len(told)} good answers; hostile: { {kind: dict(counts) for kind, counts in refused.items()} }")
        service.send_signal(signal.SIGTERM)
        output, errors = service.communicate(timeout=60)
        assert (service.returncode, errors) == (0, "")
        assert output.splitlines()[-1] == "stopping"
    finally:
        if service.poll() is None:
            service.terminate()
            service.communicate(timeout=60)


async def _storm(
    port: int, records: list[dict[str, Any]]
) -> tuple[list[tuple[int, int, list[float]]], dict[str, Counter[int]]]:
    """(row, status, probabilities) of the good requests, and the statuses of the hostile ones by their kind."""
    told: list[tuple[int, int, list[float]]] = []
    refused: dict[str, Counter[int]] = {}
    ended = asyncio.Event()
    limits = httpx.Limits(max_connections=CLIENTS + 2 * HOSTILE)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120, limits=limits) as client:

        async def good(row: int) -> None:
            for _ in range(ROUNDS):
                answer = await client.post("/v1/predict", json={"inputs": [records[row]]})
                proba = []
                if answer.status_code == 200:
                    proba = list(answer.json()["predictions"][0]["probabilities"].values())
                told.append((row, answer.status_code, proba))

        async def hostile(number: int) -> None:
            draw = random.Random(number)
            kinds = list(BODIES)
            for turn in range(10_000):
                if ended.is_set() and turn >= len(BODIES):
                    return
                kind = kinds[(number + turn) % len(kinds)]
                body, headers, _ = BODIES[kind]
                answer = await client.post("/v1/predict", content=body, headers=headers)
                refused.setdefault(kind, Counter())[answer.status_code] += 1
                await asyncio.sleep(draw.uniform(0, 0.05))

        async def rude(number: int) -> None:
            """Bodies that stop, connections that end in the middle, lines that are no HTTP."""
            while not ended.is_set():
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                writer.write(
                    [
                        head + b'Content-Length: 5000\r\n\r\n{"inputs": [',
                        head + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
                        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                        head + b"Content-Length: -1\r\n\r\n",
                        b"\x16\x03\x01 no HTTP\r\n\r\n",
                    ][number % 5]
                )
                with contextlib.suppress(OSError, asyncio.TimeoutError):
                    await writer.drain()
                    await asyncio.wait_for(reader.read(200), 0.5 + number % 3)
                writer.close()

        async with asyncio.TaskGroup() as group:
            others = [group.create_task(hostile(i)) for i in range(HOSTILE // 2)]
            others += [group.create_task(rude(i)) for i in range(HOSTILE // 2)]
            await asyncio.gather(*(good(row) for row in range(CLIENTS)))
            ended.set()
    return told, refused


def _wait_until_healthy(url: str, service: Any) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert service.poll() is None, service.communicate()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/healthz").status_code == 200:
                return
        time.sleep(0.3)
    raise AssertionError("the service is not healthy after two minutes")
