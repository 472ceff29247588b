"""Inspection and garbage collection of the store: only requested content is removed, and nothing that is in use."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
from tests.store.contents import StorePlace, names
from tests.tiny import plan_of

from quorate.execution.events import Checkpointed, Fitted
from quorate.plan.tasks import FitTask
from quorate.results.results import Results
from quorate.store import open_store
from quorate.store.collection import RetentionRules, by_kind, by_space, collect, take_inventory

HOUR, DAY = 3600, 86400


class Stocked(StorePlace):
    """A store with some finished tasks, all of them used long ago."""

    def __init__(self, place: StorePlace, members: str = "{m: svm, f: random_forest}") -> None:
        super().__init__(place.address, place.server)
        self.results = Results(self.store)
        self.tasks = plan_of(members).tasks
        for number, task in enumerate(self.tasks):
            files = {"model.skops": bytes([number]) * 10_000}
            self.results.keep(Fitted(task, self.rows(number), [], files, seconds=2.0, complete=True))

    def rows(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).dirichlet(np.ones(3), 20).astype(np.float32)

    def grow_old(self, seconds: float = 10 * DAY) -> None:
        super().grow_old(seconds)

    def has(self, task: FitTask) -> bool:
        return self.store.find("fits", task.key) is not None

    def bytes(self) -> int:
        return sum(entry.size for entry in self.backend.entries(""))


@pytest.fixture
def stocked(place: StorePlace) -> Stocked:
    return Stocked(place)


def test_every_byte_is_counted_once_under_its_type(stocked: Stocked) -> None:
    # given: an own blob, a checkpoint, a prediction that shares its blob with a fit, something damaged and torn
    stocked.store.put(b"nobody names me")
    stocked.results.keep_checkpoint(Checkpointed(stocked.tasks[0], b"state" * 100))
    stocked.results.keep_prediction("ab" * 32, stocked.rows(0))
    stocked.backend.write("damaged/x", b"123")
    torn = stocked.tear()

    # when
    inventory = take_inventory(stocked.store)
    spaces = by_space(inventory)

    # then
    assert inventory.size == sum(share.size for share in spaces.values()) == stocked.bytes() + torn.size
    counts = {name: share.count for name, share in spaces.items()}
    expected = {
        "fits": 4,
        "features": 0,
        "pictures": 0,
        "predictions": 1,
        "checkpoints": 1,
        "unnamed blobs": 1,
        "damaged": 1,
        "torn writes": 1,
    }
    assert counts == expected
    assert spaces["unnamed blobs"].size == 15
    assert spaces["predictions"].size < 300, "its array is that of the first fit"
    kinds = by_kind(inventory)
    assert {name: (share.count, share.seconds) for name, share in kinds.items()} == {
        "random_forest": (2, 4.0),
        "svm": (2, 4.0),
    }
    assert sum(share.size for share in kinds.values()) == spaces["fits"].size


def test_results_without_a_blob_are_not_found_and_are_collected_as_garbage(stocked: Stocked) -> None:
    # given: a fit that nobody used for an hour, without one of its blobs
    broken = stocked.tasks[0]
    manifest = stocked.store.find("fits", broken.key)
    stocked.backend.remove(f"blobs/{manifest['valid'][:2]}/{manifest['valid']}")
    stocked.age(f"fits/{broken.key[:2]}/{broken.key}.json", HOUR + 10)

    # when
    spaces = by_space(take_inventory(stocked.store))
    done = collect(stocked.store, RetentionRules())

    # then
    assert (spaces["fits"].count, spaces["without a blob"].count) == (3, 1)
    assert sum(share.count for share in by_kind(take_inventory(stocked.store)).values()) == 3
    assert done.shares["without a blob"].count == 1
    assert stocked.results.find(broken) is None
    assert all(stocked.results.find(task) for task in stocked.tasks[1:])


def test_garbage_is_removed_after_an_hour_and_finished_work_is_kept(stocked: Stocked) -> None:
    young, old = stocked.store.put(b"young"), stocked.store.put(b"old")
    stocked.age(f"blobs/{old[:2]}/{old}", HOUR + 10)
    stocked.backend.write("damaged/x", b"123")
    torn = stocked.tear()
    for name in ("damaged/x", torn.name):
        stocked.age(name, HOUR + 10)

    done = collect(stocked.store, RetentionRules())

    assert {reason: (share.count, share.size) for reason, share in done.shares.items()} == {
        "unnamed blobs": (1, 3),
        "damaged": (1, 3),
        "torn writes": (1, torn.size),
    }
    assert stocked.store.get(young) == b"young"
    assert stocked.backend.read(f"blobs/{old[:2]}/{old}") is None
    assert done.after == stocked.bytes() == done.before - 6 - torn.size
    assert all(stocked.results.find(task) for task in stocked.tasks)


def test_a_dry_run_reports_the_same_and_removes_nothing(stocked: Stocked) -> None:
    stocked.store.put(b"garbage")
    stocked.results.keep_checkpoint(Checkpointed(stocked.tasks[0], b"state"))
    stocked.grow_old()
    rules, before = RetentionRules(older_than=DAY, max_size=20_000), names(stocked.backend)

    said = collect(stocked.store, rules, dry_run=True)

    assert names(stocked.backend) == before
    assert collect(stocked.store, rules) == said


def test_checkpoints_of_finished_tasks_are_removed_and_others_only_on_request(stocked: Stocked) -> None:
    finished, other = stocked.tasks[0], plan_of("{n: svm}").tasks[0]
    for task in (finished, other):
        stocked.results.keep_checkpoint(Checkpointed(task, f"state of {task}".encode()))

    collect(stocked.store, RetentionRules())

    assert stocked.results.checkpoint(finished) is None
    assert stocked.results.checkpoint(other) == f"state of {other}".encode()
    done = collect(stocked.store, RetentionRules(checkpoints=True))
    assert stocked.results.checkpoint(other) is None
    assert list(done.shares) == ["checkpoints"]
    assert by_space(take_inventory(stocked.store))["unnamed blobs"].count == 0


def test_results_unused_for_the_given_time_are_removed_with_their_blobs(stocked: Stocked) -> None:
    stocked.grow_old(10 * DAY)
    used = stocked.tasks[1]
    assert stocked.results.find(used)

    collect(stocked.store, RetentionRules(older_than=9 * DAY))

    assert [stocked.has(task) for task in stocked.tasks] == [task is used for task in stocked.tasks]
    assert stocked.results.find(used), "its blobs are all there"
    assert by_space(take_inventory(stocked.store))["unnamed blobs"].count == 0


def test_a_blob_that_another_task_refers_to_is_kept(stocked: Stocked) -> None:
    first, second = stocked.tasks[:2]
    for task in (first, second):
        stocked.store.set_aside("fits", task.key)
        stocked.results.keep(Fitted(task, stocked.rows(9), [], {"a": b"shared"}, seconds=1, complete=True))
    stocked.grow_old(10 * DAY)
    stocked.results.find(second)

    collect(stocked.store, RetentionRules(older_than=DAY))

    assert not stocked.has(first)
    assert stocked.results.find(second)


def test_above_the_size_limit_the_least_recently_used_results_are_removed_first(stocked: Stocked) -> None:
    for number, task in enumerate(stocked.tasks):  # the last was used longest ago
        stocked.age(f"fits/{task.key[:2]}/{task.key}.json", (number + 2) * DAY)
    for name in names(stocked.backend, "blobs"):
        stocked.age(name, 30 * DAY)
    one = take_inventory(stocked.store).size / 4

    done = collect(stocked.store, RetentionRules(max_size=int(2.5 * one)))

    assert [stocked.has(task) for task in stocked.tasks] == [True, True, False, False]
    assert done.after == stocked.bytes() <= 2.5 * one
    assert list(done.shares) == ["least recently used fits"]


def test_results_used_within_the_hour_are_kept_even_above_the_size_limit(stocked: Stocked) -> None:
    stocked.grow_old()
    stocked.results.find(stocked.tasks[0])

    done = collect(stocked.store, RetentionRules(max_size=0, older_than=0))

    assert [stocked.has(task) for task in stocked.tasks] == [True, False, False, False]
    assert done.after == stocked.bytes() > 0


def test_results_that_a_running_job_requires_are_kept_whatever_their_age(stocked: Stocked) -> None:
    stocked.results.keep_checkpoint(Checkpointed(stocked.tasks[0], b"state"))
    needed = stocked.tasks[0]
    with stocked.store.lease("job", waiting=lambda holder: None, keys=[needed.key]):
        stocked.grow_old()

        collect(stocked.store, RetentionRules(max_size=0, checkpoints=True))

        assert [stocked.has(task) for task in stocked.tasks] == [True, False, False, False]
        assert stocked.results.checkpoint(needed) == b"state"
    stocked.grow_old()
    collect(stocked.store, RetentionRules(max_size=0))
    assert not stocked.has(needed)


def test_blobs_that_were_written_since_a_running_job_began_are_kept_whatever_their_age(stocked: Stocked) -> None:
    # given: a job of some hours, the blob of an interim result, and an older one that nobody names
    with stocked.store.lease("job", waiting=lambda holder: None, keys=["ab" * 32]):
        stocked.age("pins/job.json", 3 * HOUR)
        interim, garbage = stocked.store.put(b"interim"), stocked.store.put(b"garbage")
        stocked.age(f"blobs/{interim[:2]}/{interim}", 2 * HOUR)
        stocked.age(f"blobs/{garbage[:2]}/{garbage}", 4 * HOUR)

        done = collect(stocked.store, RetentionRules())

        assert done.shares["unnamed blobs"].count == 1
        assert stocked.store.get(interim) == b"interim"
    collect(stocked.store, RetentionRules())
    assert [name for name in stocked.backend.names("blobs") if name.endswith(interim)] == []


def test_putting_a_blob_again_renews_its_age(stocked: Stocked) -> None:
    name = stocked.store.put(b"twice")
    stocked.age(f"blobs/{name[:2]}/{name}", 2 * HOUR)

    stocked.store.put(b"twice")
    collect(stocked.store, RetentionRules())

    assert stocked.store.get(name) == b"twice"


def test_collection_during_a_job_never_leaves_partial_results(stocked: Stocked) -> None:
    gone = found_again = 0
    for turn in range(50 if stocked.server is None else 10):
        # given: old results that are being collected, and a job that needs them just then
        stocked.grow_old()
        other = open_store(stocked.address)
        collector = threading.Thread(target=collect, args=(other, RetentionRules(max_size=0)))
        collector.start()
        time.sleep(turn % 10 * (0.001 if stocked.server is None else 0.02))

        # when
        for number, task in enumerate(stocked.tasks):
            fit = stocked.results.find(task)
            found_again += fit is not None
            if fit is None:
                gone += 1
                files = {"model.skops": bytes([number]) * 10_000}
                fit = stocked.results.keep(Fitted(task, stocked.rows(number), [], files, seconds=2.0, complete=True))
            assert stocked.results.files(fit) == {"model.skops": bytes([number]) * 10_000}
        collector.join()

        # then: it is whole, and was never found incomplete
        assert all(stocked.results.find(task) for task in stocked.tasks)
        assert names(stocked.backend, "damaged") == []
    assert gone > 2, "the collector came too late"
    assert found_again > 2, "the job came too late"


def test_a_manifest_of_another_space_keeps_its_blobs(stocked: Stocked) -> None:
    blob = stocked.store.put(b"features")
    stocked.store.commit("features", "cd" * 32, {"nested": {"arrays": [blob]}})
    stocked.grow_old()

    collect(stocked.store, RetentionRules())

    assert stocked.store.get(blob) == b"features"
    assert by_space(take_inventory(stocked.store))["features"].count == 1
    assert json.loads(stocked.backend.read(f"features/cd/{'cd' * 32}.json") or b"")["body"]
