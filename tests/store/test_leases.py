"""A lease has one holder. It loses the lease when it ends or is silent, and learns of that."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time

import pytest
from tests.store.contents import KEY, names, python

from quorate.store import LeaseLost, StoreUnavailable
from quorate.store.lease_record import LeaseHolder, LeaseRecord, machine
from quorate.store.leases import pinned


def never(holder: str) -> None:
    raise AssertionError(f"waited for {holder}")


def dead() -> LeaseHolder:
    """A process of this machine that has ended, though another has its number now."""
    return LeaseHolder(socket.gethostname(), os.getpid(), "another life", machine())


def test_a_lease_has_one_holder_and_is_free_after_its_release(store, backend):
    with store.lease("job", waiting=never):
        (name,) = names(backend, "leases")
        holder = json.loads(backend.read(name) or b"")
        assert holder["pid"] == os.getpid()
    assert backend.read(name) == b'{"number": 1}'
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
def test_an_unreadable_lease_is_taken_over(content, store, backend):
    if content == b'{"host": "there"}':
        content = LeaseRecord(7, dead()).to_bytes()
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
    with store.lease("job", waiting=never, beat=0.05):
        backend.write("leases/job.json", b"the next one's")
        time.sleep(0.2)

    assert backend.read("leases/job.json") == b"the next one's"


def test_pins_last_until_the_release_of_the_lease_and_then_count_as_recent_use(place, store, backend):
    store.commit("fits", KEY, {"who": "me"})
    manifest = f"fits/{KEY[:2]}/{KEY}.json"
    place.age(manifest, 9999)

    with store.lease("job", waiting=never, keys=[KEY]):
        assert pinned(backend).names == {manifest}
    assert pinned(backend).names == set()
    (entry,) = backend.entries("fits")
    assert entry.idle < 60
    assert names(backend) == [manifest, "leases/job.json"]


def test_the_age_of_the_pins_is_that_of_the_first_running_job(place, store, backend):
    assert pinned(backend).age == 0
    with store.lease("old", waiting=never, keys=[KEY]), store.lease("young", waiting=never, keys=[KEY]):
        place.age("pins/old.json", 5000)

        assert 5000 <= pinned(backend).age < 5060

    assert pinned(backend).age == 0


def test_pins_of_a_dead_holder_are_released_and_its_list_is_removed(place, backend):
    backend.write("leases/job.json", LeaseRecord(1, dead()).to_bytes())
    backend.write("pins/job.json", b'["fits/a"]')

    assert pinned(backend).names == set()
    assert names(backend, "pins") == ["pins/job.json"], "a new holder may just be writing it"
    place.age("pins/job.json", 9999)
    assert pinned(backend).names == set()
    assert names(backend, "pins") == []


def test_a_holder_on_another_machine_keeps_its_pins_while_its_heartbeat_lasts(place, backend):
    foreign = {"host": "elsewhere", "pid": 1, "born": "1", "beats": 0}
    backend.write("leases/job.json", json.dumps(foreign).encode())
    backend.write("pins/job.json", b'["fits/a"]')

    assert pinned(backend).names == {"fits/a"}
    place.age("leases/job.json", 9999)
    assert pinned(backend).names == set()


def test_each_acquisition_has_a_higher_number_also_after_a_release_and_a_loss(store, backend):
    numbers = []
    for _ in range(2):
        with store.lease("job", waiting=never) as lease:
            numbers.append(lease.number)
    backend.write("leases/job.json", LeaseRecord(lease.number, dead()).to_bytes())
    with store.lease("job", waiting=never) as lease:
        numbers.append(lease.number)
    with store.lease("other", waiting=never) as lease:
        numbers.append(lease.number)

    assert numbers == [1, 2, 3, 1]
    assert LeaseRecord.of(backend.read("leases/job.json")) == LeaseRecord(3)


@pytest.mark.parametrize(
    ("content", "record"),
    [
        (None, LeaseRecord(0)),
        (b'{"number": 4}', LeaseRecord(4)),
        (b'{"host": "h", "pid": 1, "born": "2", "beats": 3}', LeaseRecord(0, LeaseHolder("h", 1, "2"), 3)),
        (b'{"number": "x"}', LeaseRecord(0)),
        (b"[1]", LeaseRecord(0)),
    ],
)
def test_leases_of_earlier_versions_are_read(content, record):
    assert LeaseRecord.of(content) == record
    assert LeaseRecord.of(record.to_bytes()) == record


def test_a_process_of_another_machine_with_the_same_name_is_not_taken_for_a_dead_one(store, backend):
    # given: a container whose host name is ours, and a number that no process has here
    there = LeaseHolder(socket.gethostname(), 4_000_000, "1", "another boot pid:[1]")
    backend.write("leases/job.json", LeaseRecord(1, there).to_bytes())
    told: list[str] = []

    with store.lease("job", waiting=told.append, beat=0.03):
        pass

    assert told == [f"process 4000000 on {socket.gethostname()}"]


OTHER = LeaseHolder("elsewhere", 7, "1", "m", "t", "2026-01-02 03:04:05 UTC")


def test_a_driver_that_lost_its_lease_learns_who_has_it_and_cannot_commit(store, backend):
    # given
    store.commit("fits", KEY, {"who": "me"})
    told: list[LeaseLost] = []
    noticed = threading.Event()

    def lost(error: LeaseLost) -> None:
        told.append(error)
        noticed.set()

    with store.lease("job", waiting=never, beat=0.2, lost=lost) as lease:
        lease.check()
        store.commit("fits", "cd" * 32, {"who": "me"})

        # when
        backend.write("leases/job.json", LeaseRecord(9, OTHER).to_bytes())
        since = time.monotonic()
        assert noticed.wait(10)

        # then
        assert time.monotonic() - since < 5, "at the next beat; two seconds by default"
        message = "process 7 on elsewhere holds the lease since 2026-01-02 03:04:05 UTC"
        for refused in (
            lease.check,
            lambda: store.commit("fits", "ef" * 32, {"who": "me"}),
            lambda: store.replace("checkpoints", KEY, {"state": "1"}),
        ):
            with pytest.raises(LeaseLost, match=message):
                refused()
    assert [str(error) for error in told] == [message]
    assert store.find("fits", "ef" * 32) is None
    assert store.find("checkpoints", KEY) is None
    assert LeaseRecord.of(backend.read("leases/job.json")) == LeaseRecord(9, OTHER), "the next one keeps it"
    store.commit("fits", "ef" * 32, {"who": "me"})  # no lease is held now


def test_a_driver_that_was_suspended_looks_at_its_lease_before_it_commits(store, backend):
    # given: no beat for a while, as after SIGSTOP, and the heart has not been scheduled since
    with store.lease("job", waiting=never, beat=60) as lease:
        backend.write("leases/job.json", LeaseRecord(9, OTHER).to_bytes())
        store.commit("fits", KEY, {"who": "me"})  # it cannot know yet
        lease._news -= 200

        with pytest.raises(LeaseLost, match="process 7 on elsewhere"):
            store.commit("fits", "cd" * 32, {"who": "me"})


def test_a_lease_that_was_removed_is_lost(store, backend):
    with store.lease("job", waiting=never, beat=0.05) as lease:
        backend.remove("leases/job.json")
        time.sleep(0.5)
        with pytest.raises(LeaseLost, match="the lease was removed"):
            lease.check()


def test_a_beat_whose_answer_was_lost_is_no_loss_of_the_lease(store, backend, monkeypatch):
    # given: writes that take effect, but whose answer does not arrive, and then a store that is away
    swap, states = backend.swap, iter(["lost", "away", "away", "lost", "fine", "fine"])

    def unreliable(name: str, old: bytes | None, new: bytes) -> bool:
        state = next(states, "fine")
        if state == "away":
            raise StoreUnavailable(None, "away", "s3://x")
        done = swap(name, old, new)
        if state == "lost":
            raise StoreUnavailable(None, "away", "s3://x")
        return done

    with store.lease("job", waiting=never, beat=0.05) as lease:
        monkeypatch.setattr(backend, "swap", unreliable)
        deadline = time.monotonic() + 10
        while LeaseRecord.of(backend.read("leases/job.json")).beats < 12:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        lease.check()
    assert LeaseRecord.of(backend.read("leases/job.json")) == LeaseRecord(1)


def test_a_store_that_is_away_at_the_end_does_not_hide_what_ended_the_work(store, backend, monkeypatch):
    def away(*_: object) -> None:
        raise StoreUnavailable(None, "away", "s3://x")

    with pytest.raises(ZeroDivisionError), store.lease("job", waiting=never, keys=[KEY]):
        for method in ("swap", "touch", "remove"):
            monkeypatch.setattr(backend, method, away)
        raise ZeroDivisionError


def test_a_lease_that_this_process_could_not_release_is_free_for_it(store, backend, monkeypatch):
    def away(*_: object) -> None:
        raise StoreUnavailable(None, "away", "s3://x")

    with monkeypatch.context() as patch, store.lease("job", waiting=never):
        patch.setattr(backend, "swap", away)

    with store.lease("job", waiting=never) as lease:
        assert lease.number == 2


RACE = """
import json
me = str(os.getpid())
def meet(what):
    store.backend.write(f'meet/{what}/{me}', b'')
    while len(list(store.backend.names(f'meet/{what}'))) < 2:
        time.sleep(.002)

class Waited(Exception):
    pass

def waiting(holder):
    raise Waited

created, leased = [], []
for i in range(20):
    meet(f'create-{i}')
    if store.backend.create(f'created/{i}', me.encode()):
        created.append(i)
    meet(f'lease-{i}')
    try:
        with store.lease('job', waiting=waiting) as lease:
            leased.append((i, lease.number))
            meet(f'end-{i}')
    except Waited:
        meet(f'end-{i}')
    meet(f'over-{i}')
print(json.dumps([created, leased]))
"""


@pytest.mark.timeout(120)
def test_of_20_races_of_two_processes_for_an_item_and_for_a_lease_each_has_one_winner(place, backend):
    both = [python(RACE, place.address) for _ in range(2)]

    said = [json.loads(process.communicate(timeout=100)[0]) for process in both]
    (created, leased), (created_too, leased_too) = said

    assert sorted(created + created_too) == list(range(20))
    assert sorted(leased + leased_too) == [[i, i + 1] for i in range(20)]
    for i in created:
        assert backend.read(f"created/{i}") == str(both[0].pid).encode()
