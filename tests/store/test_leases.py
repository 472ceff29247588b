"""A lease has one holder, which loses it when its process dies or its heartbeat stops."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time

import pytest
from tests.store.contents import KEY, age, names, python

from quorate.store import LocalBackend, Store
from quorate.store.leases import pinned


def never(holder: str) -> None:
    raise AssertionError(f"waited for {holder}")


def test_a_lease_has_one_holder_and_is_free_after_its_release(store, backend):
    with store.lease("job", waiting=never):
        (name,) = names(backend, "leases")
        holder = json.loads(backend.read(name) or b"")
        assert holder["pid"] == os.getpid()
    assert names(backend, "leases") == []
    with store.lease("job", waiting=never), store.lease("another", waiting=never):
        pass


def test_a_second_holder_waits_for_the_first(store):
    told, order = [], []

    def second() -> None:
        with store.lease("job", waiting=told.append, beat=0.1):
            order.append("second")

    with store.lease("job", waiting=never, beat=0.1):
        thread = threading.Thread(target=second)
        thread.start()
        deadline = time.monotonic() + 5
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
        order.append("first")
    thread.join(5)

    assert order == ["first", "second"]
    assert told == [f"process {os.getpid()} on {socket.gethostname()}"]


def test_a_live_holder_with_a_heartbeat_keeps_its_lease(store):
    taken = threading.Event()

    def second() -> None:
        with contextlib.suppress(AssertionError), store.lease("job", waiting=lambda holder: None, beat=0.02):
            taken.set()

    with store.lease("job", waiting=never, beat=0.02):
        thread = threading.Thread(target=second)
        thread.start()
        assert not taken.wait(0.6), "thirty beats"
    thread.join(5)
    assert taken.is_set()


@pytest.mark.timeout(30)
def test_the_lease_of_a_killed_process_is_taken_at_once(tmp_path):
    # given
    code = "with store.lease('job', waiting=print, beat=60):\n print('held', flush=True)\n time.sleep(60)"
    holder = python(code, str(tmp_path))
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    told: list[str] = []

    # when
    threading.Timer(0.3, holder.kill).start()
    with Store(LocalBackend(tmp_path)).lease("job", waiting=told.append, beat=60):
        code = holder.wait(5)
    holder.communicate()

    # then
    assert code == -9
    assert told == [f"process {holder.pid} on {socket.gethostname()}"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": "there"}'])
def test_an_unreadable_lease_is_taken_over(content, store, backend):
    if content == b'{"host": "there"}':
        content = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "born": "another life"}).encode()
    backend.write("leases/job.json", content)

    with store.lease("job", waiting=never):
        pass


def test_a_holder_without_a_heartbeat_loses_its_lease(store, backend):
    # given: a holder on another host, of which nothing is known but its counter
    foreign = {"host": "elsewhere", "pid": 1, "born": "1", "beats": 0}
    backend.write("leases/job.json", json.dumps(foreign).encode())
    told: list[str] = []
    started = time.monotonic()

    # when: it beats once more and then no longer
    beats = json.dumps(foreign | {"beats": 1}).encode()
    threading.Timer(0.2, backend.write, ("leases/job.json", beats)).start()
    with store.lease("job", waiting=told.append, beat=0.03):
        waited = time.monotonic() - started

    # then
    assert waited > 0.2 + 10 * 0.03
    assert told == ["process 1 on elsewhere"]


def test_a_holder_that_lost_its_lease_does_not_release_that_of_the_next_holder(store, backend):
    with store.lease("job", waiting=never, beat=0.02):
        backend.write("leases/job.json", b"the next one's")
        time.sleep(0.1)

    assert backend.read("leases/job.json") == b"the next one's"


def test_pins_last_until_the_release_of_the_lease_and_then_count_as_recent_use(store, backend, tmp_path):
    store.commit("fits", KEY, {"who": "me"})
    place = f"fits/{KEY[:2]}/{KEY}.json"
    age(tmp_path / "store" / place, 9999)

    with store.lease("job", waiting=never, keys=[KEY]):
        assert pinned(backend) == {place}
    assert pinned(backend) == set()
    (entry,) = backend.entries("fits")
    assert entry.idle < 60
    assert names(backend) == [place]


def test_pins_of_a_dead_holder_are_released_and_its_list_is_removed(store, backend, tmp_path):
    dead = {"host": socket.gethostname(), "pid": os.getpid(), "born": "another life", "beats": 0}
    backend.write("leases/job.json", json.dumps(dead).encode())
    backend.write("pins/job.json", b'["fits/a"]')

    assert pinned(backend) == set()
    assert names(backend, "pins") == ["pins/job.json"], "a new holder may just be writing it"
    age(tmp_path / "store" / "pins/job.json", 9999)
    assert pinned(backend) == set()
    assert names(backend, "pins") == []


def test_a_holder_on_another_machine_keeps_its_pins_while_its_heartbeat_lasts(backend, tmp_path):
    foreign = {"host": "elsewhere", "pid": 1, "born": "1", "beats": 0}
    backend.write("leases/job.json", json.dumps(foreign).encode())
    backend.write("pins/job.json", b'["fits/a"]')

    assert pinned(backend) == {"fits/a"}
    age(tmp_path / "store" / "leases/job.json", 9999)
    assert pinned(backend) == set()
