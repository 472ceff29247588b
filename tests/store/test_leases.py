"""A lease has one holder, who loses it with his life or his silence."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time

import pytest
from tests.store.contents import KEY, names, python

from quorate.store.leases import LeaseHolder, LeaseRecord, _machine, pinned


def never(holder: str) -> None:
    raise AssertionError(f"waited for {holder}")


def dead() -> LeaseHolder:
    """A process of this machine that has ended, though another has its number now."""
    return LeaseHolder(socket.gethostname(), os.getpid(), "another life", _machine())


def test_a_lease_is_held_by_one_and_free_when_it_is_given_back(store, backend):
    with store.lease("job", waiting=never):
        (name,) = names(backend, "leases")
        holder = json.loads(backend.read(name) or b"")
        assert holder["pid"] == os.getpid()
    assert backend.read(name) == b'{"number": 1}'
    with store.lease("job", waiting=never), store.lease("another", waiting=never):
        pass


def test_the_second_waits_until_the_first_is_done(store):
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


def test_a_living_holder_that_beats_keeps_its_lease(store):
    taken = threading.Event()

    def second() -> None:
        with contextlib.suppress(AssertionError), store.lease("job", waiting=lambda holder: None, beat=0.05):
            taken.set()

    with store.lease("job", waiting=never, beat=0.05):
        thread = threading.Thread(target=second)
        thread.start()
        assert not taken.wait(1.2), "24 beats"
    thread.join(5)
    assert taken.is_set()


@pytest.mark.timeout(30)
def test_the_lease_of_a_killed_process_is_taken_at_once(place, store):
    # given
    code = "with store.lease('job', waiting=print, beat=60):\n print('held', flush=True)\n time.sleep(60)"
    holder = python(code, place.address)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    told: list[str] = []

    # when
    threading.Timer(0.3, holder.kill).start()
    with store.lease("job", waiting=told.append, beat=60):
        code = holder.wait(5)
    holder.communicate()

    # then
    assert code == -9
    assert told == [f"process {holder.pid} on {socket.gethostname()}"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": "there"}'])
def test_a_lease_that_nobody_can_read_is_taken(content, store, backend):
    if content == b'{"host": "there"}':
        content = LeaseRecord(7, dead()).to_bytes()
    backend.write("leases/job.json", content)

    with store.lease("job", waiting=never):
        pass


def test_a_counter_that_stands_still_has_lost_the_lease(store, backend):
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


def test_a_holder_that_was_robbed_does_not_take_the_lease_from_the_next_one(store, backend):
    with store.lease("job", waiting=never, beat=0.05):
        backend.write("leases/job.json", b"the next one's")
        time.sleep(0.2)

    assert backend.read("leases/job.json") == b"the next one's"


def test_what_a_holder_needs_is_pinned_until_it_gives_the_lease_back_and_then_lately_used(place, store, backend):
    store.commit("fits", KEY, {"who": "me"})
    manifest = f"fits/{KEY[:2]}/{KEY}.json"
    place.age(manifest, 9999)

    with store.lease("job", waiting=never, keys=[KEY]):
        assert pinned(backend) == {manifest}
    assert pinned(backend) == set()
    (entry,) = backend.entries("fits")
    assert entry.idle < 60
    assert names(backend) == [manifest, "leases/job.json"]


def test_what_a_dead_holder_pinned_is_free_again_and_its_list_is_removed(place, backend):
    backend.write("leases/job.json", LeaseRecord(1, dead()).to_bytes())
    backend.write("pins/job.json", b'["fits/a"]')

    assert pinned(backend) == set()
    assert names(backend, "pins") == ["pins/job.json"], "a new holder may just be writing it"
    place.age("pins/job.json", 9999)
    assert pinned(backend) == set()
    assert names(backend, "pins") == []


def test_a_holder_elsewhere_protects_its_pins_while_it_beats(place, backend):
    foreign = {"host": "elsewhere", "pid": 1, "born": "1", "beats": 0}
    backend.write("leases/job.json", json.dumps(foreign).encode())
    backend.write("pins/job.json", b'["fits/a"]')

    assert pinned(backend) == {"fits/a"}
    place.age("leases/job.json", 9999)
    assert pinned(backend) == set()
