"""Workers write the blobs of their results themselves if they reach the store of the job."""

from __future__ import annotations

import hashlib
import os
import pickle

import pytest
from tests.object_stores import SECRET, ObjectServer
from tests.store.contents import StorePlace

from quorate.execution.content import WrittenBlob
from quorate.results import destination
from quorate.results.results import Results
from quorate.store import Store, StoreUnavailable, open_store

CONTENT = b"weights" * 1000


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path) -> StorePlace:
    if request.param == "folder":
        return StorePlace(str(tmp_path / "store"))
    server: ObjectServer = request.getfixturevalue("s3")
    return StorePlace(server.new_store(), server)


def test_a_worker_that_reaches_the_store_writes_there_and_gives_the_name(place: StorePlace) -> None:
    with Results(place.store).destination() as where:
        sent = pickle.loads(pickle.dumps(where))

        written = sent.connect()(CONTENT)

    assert written == WrittenBlob(hashlib.sha256(CONTENT).hexdigest())
    assert open_store(place.address).get(written.name) == CONTENT


def test_a_worker_that_does_not_reach_the_store_gives_the_bytes(place: StorePlace) -> None:
    with Results(place.store).destination() as where:
        pass  # the nonce is gone, as in a folder of the same name on another host

    assert where.connect()(CONTENT) is CONTENT
    assert list(place.backend.names("blobs")) == []


def test_a_worker_uses_the_variables_of_the_driver_and_no_text_shows_them(
    s3: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a worker whose own environment does not lead to the store
    with Results(open_store(s3.new_store())).destination() as where:
        for name in s3.variables:
            monkeypatch.delenv(name)

        # when
        written = where.connect()(CONTENT)

    # then
    assert isinstance(written, WrittenBlob)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert SECRET not in f"{where} {where!r}"


def test_the_variables_of_a_driver_with_a_folder_stay_with_it(tmp_path, s3: ObjectServer) -> None:
    with Results(open_store(str(tmp_path))).destination() as where:
        assert where.variables == {}


def test_after_a_failed_write_the_bytes_go_to_the_driver_for_a_while(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, put = [], Store.put

    def away(store: Store, content: bytes) -> str:
        tried.append(content)
        raise StoreUnavailable(None, "it is away", "s3://bucket/x")

    with Results(open_store(str(tmp_path))).destination() as where:
        write = where.connect()
        monkeypatch.setattr(Store, "put", away)
        assert [write(b"1"), write(b"2")] == [b"1", b"2"]
        assert tried == [b"1"]

        monkeypatch.setattr(Store, "put", put)
        monkeypatch.setattr(destination, "_PAUSE_SECONDS", -1.0)
        assert write(b"3") == b"3", "the pause has begun"
        write._not_before = 0.0
        assert isinstance(write(b"4"), WrittenBlob)
