"""A process that does not get a lease learns that the holder works, and when it has ended."""

from __future__ import annotations

import os
import time

import pytest

from quorate.store.lease_record import LeaseHolder, LeaseRecord
from quorate.store.leases import LeaseWatch


class Busy(Exception):
    """The holder works."""


def refuse(holder: LeaseHolder) -> None:
    raise Busy(holder)


def test_a_wait_ends_when_the_holder_shows_that_it_works(store):
    with store.lease("job", waiting=lambda _: None, beat=0.05) as lease:
        lease.say("its run is here")
        time.sleep(0.2)

        with pytest.raises(Busy) as raised, store.lease("job", waiting=lambda _: None, busy=refuse, beat=0.1):
            raise AssertionError("it has the lease")

        (holder,) = raised.value.args
        assert (holder.pid, holder.token, holder.about) == (os.getpid(), lease.token, "its run is here")
        watch = store.watch("job", holder)
        assert watch.holder() == holder
        lease.check()
    assert watch.holder() is None, "it has released the lease"


def test_a_holder_that_does_not_work_is_not_called_busy(store, backend):
    silent = LeaseHolder("elsewhere", 7, "1", "m", "token")
    backend.write("leases/job.json", LeaseRecord(3, silent).to_bytes())

    with store.lease("job", waiting=lambda _: None, busy=refuse, beat=0.03) as lease:
        assert lease.number == 4


def test_a_holder_is_gone_when_it_is_silent_or_another_one_has_the_lease(store, backend):
    silent, other = (LeaseHolder("elsewhere", 7, "1", "m", token) for token in ("silent", "other"))
    backend.write("leases/job.json", LeaseRecord(3, silent).to_bytes())
    watch = LeaseWatch(backend, "job", silent, beat=0.02)

    assert watch.holder() == silent
    time.sleep(0.3)
    assert watch.holder() is None
    backend.write("leases/job.json", LeaseRecord(3, silent, beats=1).to_bytes())
    assert watch.holder() == silent
    backend.write("leases/job.json", LeaseRecord(4, other).to_bytes())
    assert watch.holder() is None
