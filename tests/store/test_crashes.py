"""A crash or an error at every write, rename, put and sync of the store leaves the old or the new state."""

from __future__ import annotations

import errno
import itertools
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import GenericError
from tests.object_stores import ObjectServer
from tests.store.contents import KEY, StorePlace, names

from quorate.store import Store, StoreUnavailable, leases, open_store
from quorate.store.collection import RetentionRules, by_space, collect, take_inventory
from quorate.store.lease_record import LeaseRecord

pytestmark = pytest.mark.chaos

WEIGHTS, OLD, NEW_FILE = b"weights" * 10, b"old state" * 10, Path(__file__)
NEW = NEW_FILE.read_bytes()


class Crash(BaseException):
    """The process ends here: nothing that it still does has an effect."""


class Faults:
    """Counts what changes a disk or a bucket, and lets the operation number `at` fail, and all after it if it is a
    crash. A write of a file that fails has written its first half."""

    def __init__(self, patch: pytest.MonkeyPatch, *, s3: bool) -> None:
        self.at, self.count, self.done = 0, 0, False
        self.error: Callable[[], BaseException] = Crash
        self.with_effect = False
        self._counting = threading.Lock()
        self.kinds: set[str] = set()
        if s3:
            for name in ("put", "copy", "delete"):
                self._watch(patch, obstore, name)
        else:
            for owner, name in (
                (os, "fsync"),
                (os, "link"),
                (os, "utime"),
                (tempfile, "mkstemp"),
                (Path, "replace"),
                (Path, "unlink"),
                (Path, "mkdir"),
            ):
                self._watch(patch, owner, name)
            self._watch_files(patch)

    def arm(self, at: int, error: Callable[[], BaseException] = Crash, *, with_effect: bool = False) -> None:
        self.at, self.count, self.error, self.with_effect, self.done = at, 0, error, with_effect, False

    def disarm(self) -> bool:
        """Return whether the fault happened."""
        self.at, happened = 0, self.done
        return happened

    def _fails(self, kind: str) -> bool:
        with self._counting:
            if not self.at:
                return False
            self.count += 1
            self.kinds.add(kind)
            crashed = self.done and self.error is Crash
            self.done = self.done or self.count == self.at
            return crashed or self.count == self.at

    def _watch(self, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            if not self._fails(name):
                return real(*arguments, **options)
            if self.with_effect:
                real(*arguments, **options)
            raise self.error()

        patch.setattr(owner, name, watched)

    def _watch_files(self, patch: pytest.MonkeyPatch) -> None:
        real = os.fdopen

        def watched(*arguments: Any, **options: Any) -> Any:
            file = real(*arguments, **options)
            faults = self

            class Watched:
                def __enter__(self) -> Watched:
                    return self

                def __exit__(self, *_: object) -> None:
                    file.close()

                def write(self, content: bytes) -> None:
                    if faults._fails("write"):
                        file.write(content[: len(content) // 2])
                        raise faults.error()
                    file.write(content)

                def flush(self) -> None:
                    file.flush()

                def fileno(self) -> int:
                    return file.fileno()

            return Watched()

        patch.setattr(os, "fdopen", watched)


@pytest.fixture(params=["folder", "s3"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorePlace]:
    """Endless empty stores of one backend."""
    if request.param == "folder":
        return (StorePlace(str(tmp_path / f"store-{number}")) for number in itertools.count())
    server: ObjectServer = request.getfixturevalue("s3")
    return (StorePlace(server.new_store(), server) for _ in itertools.count())


@pytest.fixture
def faults(places: Iterator[StorePlace], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch, s3="s3" in request.node.callspec.id)


def never(holder: str) -> None:
    raise AssertionError(f"waited for {holder}")


def steps(store: Store) -> list[Callable[[], object]]:
    """What a driver does with a fit task, each step by itself."""
    broken = f"fits/{'cd' * 32}"[:7] + f"/{'cd' * 32}.json"
    return [
        lambda: store.replace("checkpoints", KEY, {"state": store.put(OLD)}),
        lambda: store.replace("checkpoints", KEY, {"state": store.put_file(NEW_FILE)}),
        lambda: store.discard("checkpoints", KEY, store.put(OLD)),
        lambda: store.commit("fits", KEY, {"files": {"model": store.put(WEIGHTS)}, "seconds": 1.0}),
        lambda: store.use("fits", KEY),
        lambda: store.drop("checkpoints", KEY),
        lambda: store.backend.write(broken, b"{"),
        lambda: store.find("fits", "cd" * 32),
        lambda: collect(store, RetentionRules(older_than=0)),
    ]


def run(store: Store) -> None:
    """A job from its lease to a collection."""
    with store.lease("job", waiting=never, beat=60, keys=[KEY]) as lease:
        for number, step in enumerate(steps(store), start=1):
            step()
            lease.increment(number)


def sound(store: Store) -> tuple[bool, bytes | None]:
    """Whether the fit is finished, and the state of the checkpoint; what is there must be whole."""
    fit, checkpoint = store.find("fits", KEY), store.find("checkpoints", KEY)
    if fit is not None:
        assert fit["seconds"] == 1.0
        assert store.get(fit["files"]["model"]) == WEIGHTS
    state = None if checkpoint is None else store.get(checkpoint["state"])
    assert state in (None, OLD, NEW)
    inventory = take_inventory(store)
    assert all(inventory.is_whole(piece) for piece in inventory.pieces)
    assert inventory.size == sum(share.size for share in by_space(inventory).values()) + sum(
        rest.size for rest in inventory.rest
    )
    return fit is not None, state


def test_a_crash_anywhere_leaves_the_old_or_the_new_state(
    places: Iterator[StorePlace], faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for number in itertools.count(1):
        # given: a driver that dies at its n-th operation
        place = next(places)
        faults.arm(number)
        try:
            run(place.store)
        except Crash:
            pass
        finally:
            crashed = faults.disarm()

        # when: another process looks
        store = open_store(place.address)
        seen.append(sound(store))
        lease = store.backend.read("leases/job.json")
        record = LeaseRecord.of(lease)
        assert lease is None or json.loads(lease)["number"] == record.number == 1

        # then: it takes the lease under the next number, and finishes the work
        with monkeypatch.context() as patch:
            patch.setattr(leases, "is_gone", lambda holder: True)
            with store.lease("job", waiting=never) as taken:
                assert taken.number == record.number + 1
                assert not [name for name in names(store.backend, "damaged") if "cdcd" not in name]
        run(store)
        assert sound(store) == (True, None)
        if not crashed:
            break
    assert number > 20
    order = [(False, None), (False, OLD), (False, NEW), (True, NEW), (True, None)]
    places_in_order = [order.index(state) for state in seen]
    assert places_in_order == sorted(places_in_order), "a later crash never leaves an earlier state"
    assert set(places_in_order) == set(range(len(order)))
    assert faults.kinds >= ({"put", "copy", "delete"} if place.server else {"write", "fsync", "link", "replace"})


@pytest.mark.parametrize("with_effect", [False, True])
def test_every_operation_may_be_repeated_after_an_error_anywhere(
    with_effect: bool, places: Iterator[StorePlace], faults: Faults
) -> None:
    """With effect: the operation was done, and its answer was lost."""
    place = next(places)

    def error() -> BaseException:
        if place.server is not None:
            return GenericError("status code: 500 Internal Server Error")
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    happened = True
    for number in itertools.count(1):
        if not happened:
            break
        place = next(places)
        faults.arm(number, error, with_effect=with_effect)
        for step in steps(place.store):
            try:
                step()
            except StoreUnavailable as unavailable:
                assert str(unavailable).startswith(place.address)
                step()
        happened = faults.disarm()
        store = open_store(place.address)
        assert sound(store) == (True, None)
        assert names(store.backend, "damaged") == [f"damaged/fits-{'cd' * 32}.json"]
        if place.server is None:
            assert len(list(store.backend.torn())) <= 1, "where removing a temporary file failed"
    assert number > 10
