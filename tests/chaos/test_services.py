"""The faults of services do what they say."""

from __future__ import annotations

import http.client
import http.server
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos import proxy as proxies
from tests.chaos.damage import damage_checkpoint, damage_result, flipped, truncated
from tests.chaos.proxy import Proxy

from quorate.results.records import CheckpointRecord, FitRecord
from quorate.store import Damaged, open_store


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    with Proxy("127.0.0.1", ("127.0.0.1", service.server_port)) as made:
        yield made
    service.shutdown()
    service.server_close()


def read(proxy: Proxy, *, seconds: float = 5) -> bytes:
    with urllib.request.urlopen(proxy.url, timeout=seconds) as answer:
        content: bytes = answer.read()
        return content


def test_a_service_is_away_answers_with_errors_and_is_back(proxy: Proxy) -> None:
    assert read(proxy) == b"ok"
    proxy.become("away")
    with pytest.raises((OSError, http.client.HTTPException)):
        read(proxy)
    proxy.become("errors")
    with pytest.raises(urllib.error.HTTPError, match="503"):
        read(proxy)
    proxy.become("pass")
    assert read(proxy) == b"ok"


def test_a_service_hangs_and_then_answers(proxy: Proxy) -> None:
    proxy.become("hanging")
    with pytest.raises(TimeoutError):
        read(proxy, seconds=0.2)
    threading.Timer(0.2, lambda: proxy.become("pass")).start()
    assert read(proxy) == b"ok"


def test_a_slow_service_answers_after_its_delay(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "DELAY_SECONDS", 0.1)
    proxy.become("slow")
    since = time.monotonic()

    assert read(proxy) == b"ok"
    assert time.monotonic() - since >= 0.2, "the request and its answer"


@pytest.mark.parametrize("how", [truncated, flipped])
def test_damaged_blobs_do_not_match_their_names(tmp_path: Path, how: object) -> None:
    store = open_store(str(tmp_path / "store"))
    assert not damage_checkpoint(store, "key", flipped, 5) and not damage_result(store, ["key"], flipped, 5)
    state, result = store.put(b"s" * 100), store.put(b"r" * 100)
    store.replace(CheckpointRecord.space, "key", CheckpointRecord(state=state).to_json())
    fit = FitRecord(valid=result, history=result, files={}, seconds=1.0)
    store.commit(FitRecord.space, "key", fit.to_json())

    assert damage_checkpoint(store, "key", how, 5) and damage_result(store, ["key"], how, 7)  # type: ignore[arg-type]

    for blob in (state, result):
        with pytest.raises(Damaged):
            store.get(blob)
