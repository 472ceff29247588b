"""What only an object store has: trailers and tombstones, its own clock, requests that fail, and large uploads."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, PreconditionError
from tests.object_stores import ObjectServer
from tests.store.contents import names, python

from quorate.store import StoreUnavailable, open_store
from quorate.store.bucket import BucketUrl
from quorate.store.object_store import ObjectBackend


@pytest.fixture
def backend(s3: ObjectServer) -> ObjectBackend:
    found = open_store(s3.new_store()).backend
    assert isinstance(found, ObjectBackend)
    return found


def e_tag(backend: ObjectBackend, name: str) -> str | None:
    return obstore.head(backend._bulk, name)["e_tag"]


def test_no_two_writes_of_the_same_content_have_the_same_tag(backend: ObjectBackend) -> None:
    tags = set()
    for change in (lambda: backend.write("a", b"1"), lambda: backend.write("a", b"1"), lambda: backend.touch("a")):
        change()
        tags.add(e_tag(backend, "a"))

    assert len(tags) == 3


def test_an_item_that_is_touched_during_a_removal_stays(
    backend: ObjectBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a collector that has looked at the age of an item
    backend.write("a", b"1")
    put_if = backend._put_if

    def later(*arguments: object) -> bool:
        monkeypatch.setattr(backend, "_put_if", put_if)
        assert backend.touch("a")  # a job finds it at this moment
        return put_if(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(backend, "_put_if", later)

    assert not backend.remove_idle("a", 0)
    assert backend.read("a") == b"1"


def test_a_tombstone_is_absent_and_is_deleted_when_it_is_old(backend: ObjectBackend) -> None:
    backend.write("a", b"1")
    backend.write("b", b"2" * 16)
    assert backend.remove_idle("a", 0)

    assert backend.entry("a") is None
    assert names(backend) == ["b"]
    assert not backend.touch("a")
    backend.move("a", "c")
    assert [entry.name for entry in backend.torn()] == ["a"]
    assert not backend.remove_torn("a", 100)
    assert not backend.remove_torn("b", 0), "it is no tombstone"
    assert backend.remove_torn("a", 0)
    assert list(backend.torn()) == []
    assert backend.read("b") == b"2" * 16
    assert obstore.list(backend._bulk).collect()[-1]["path"] == "b"


def test_what_another_program_wrote_is_read_as_it_is(backend: ObjectBackend) -> None:
    for content in (b"", b"short", b"longer than any trailer, without its mark"):
        obstore.put(backend._bulk, "a", content)
        assert backend.read("a") == content


@pytest.mark.parametrize("change", ["create", "swap", "touch"])
def test_a_write_that_took_effect_without_an_answer_counts(
    change: str, backend: ObjectBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore repeats a request whose connection broke, and is told then that its condition does not hold."""
    if change != "create":
        backend.write("a", b"old")
    put = obstore.put

    def repeated(*arguments: object, **options: object) -> None:
        put(*arguments, **options)  # type: ignore[call-overload]
        put(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(obstore, "put", repeated)
    changes: dict[str, Callable[[], bool]] = {
        "create": lambda: backend.create("a", b"new"),
        "swap": lambda: backend.swap("a", b"old", b"new"),
        "touch": lambda: backend.touch("a"),
    }

    assert changes[change]()
    assert backend.read("a") == (b"old" if change == "touch" else b"new")
    with pytest.raises((AlreadyExistsError, PreconditionError)):
        repeated(backend._bulk, "b", b"1", mode="create")


@pytest.mark.parametrize("skew", [7200, -7200])
def test_the_clock_of_this_host_does_not_matter(
    skew: int, backend: ObjectBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + skew)
    backend.write("a", b"1")

    (entry,) = backend.entries("")

    assert entry.idle < 60
    assert not backend.remove_idle("a", 60)


def test_an_item_that_was_there_before_a_collection_is_not_younger_than_it(backend: ObjectBackend) -> None:
    for _ in range(8):  # at different parts of a second, as the store cuts its times off
        backend._clock = None
        backend.write("a", b"1")
        since = time.monotonic()
        time.sleep(0.17)
        assert backend.remove_idle("a", time.monotonic() - since)


LARGE = """
import json, resource
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
content = os.urandom(1 << 20) * 160
before = peak()
name = store.put(content)
put = peak()
del content
got = store.get(name)
print(json.dumps([len(got), put - before, peak() - before, store.size(name)]))
"""


def test_a_large_blob_is_sent_and_fetched_in_parts_without_copies_of_it(s3: ObjectServer) -> None:
    process = python(LARGE, s3.new_store())

    size, sending, all_in_all, said = json.loads(process.communicate(timeout=100)[0])

    assert size == said == 160 << 20
    assert sending < 100, "MiB: a few parts of 8 MiB, not the 160 MiB again"
    assert all_in_all < 130, "MiB: the copy that is fetched takes the place of the first"


@pytest.mark.slow
@pytest.mark.chaos
def test_a_server_that_never_answers_is_given_up_within_half_a_minute(
    s3: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        backend = ObjectBackend(BucketUrl("s3", "bucket", "x"))
        for most, change in ((12, lambda: backend.swap("a", None, b"1")), (30, lambda: backend.write("a", b"1"))):
            since = time.monotonic()
            with pytest.raises(StoreUnavailable, match="it does not answer; check the endpoint and the network"):
                change()
            assert time.monotonic() - since < most
