"""Inspection and garbage collection of the store: only requested content is removed, and nothing that is in use."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.store.contents import age, names
from tests.tiny import plan_of

from quorate.execution.events import Checkpointed, Fitted
from quorate.plan.tasks import FitTask
from quorate.results.results import Results
from quorate.store import LocalBackend, Store
from quorate.store.collection import RetentionRules, by_kind, by_space, collect, take_inventory

HOUR, DAY = 3600, 86400


class Place:
    """A store with some finished tasks, all of them used long ago."""

    def __init__(self, root: Path, members: str = "{m: svm, f: random_forest}") -> None:
        self.root = root
        self.backend = LocalBackend(root)
        self.store = Store(self.backend)
        self.results = Results(self.store)
        self.tasks = plan_of(members).tasks
        for number, task in enumerate(self.tasks):
            files = {"model.skops": bytes([number]) * 10_000}
            self.results.keep(Fitted(task, self.rows(number), [], files, seconds=2.0, complete=True))

    def rows(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).dirichlet(np.ones(3), 20).astype(np.float32)

    def grow_old(self, seconds: float = 10 * DAY) -> None:
        for entry in list(self.backend.entries("")):
            age(self.root / entry.name, seconds)

    def has(self, task: FitTask) -> bool:
        return self.store.find("fits", task.key) is not None

    def on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file() and path.name != ".lock")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "store")


def test_every_byte_is_counted_once_under_its_type(place: Place) -> None:
    # given: an own blob, a checkpoint, a prediction that shares its blob with a fit, something damaged and torn
    place.store.put(b"nobody names me")
    place.results.keep_checkpoint(Checkpointed(place.tasks[0], b"state" * 100))
    place.results.keep_prediction("ab" * 32, place.rows(0))
    (place.root / "damaged").mkdir()
    (place.root / "damaged" / "x").write_bytes(b"123")
    (place.root / "fits" / ".new-abc").write_bytes(b"12")

    # when
    inventory = take_inventory(place.store)
    spaces = by_space(inventory)

    # then
    assert inventory.size == sum(share.size for share in spaces.values()) == place.on_disk()
    counts = {name: share.count for name, share in spaces.items()}
    expected = {
        "fits": 4,
        "features": 0,
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


def test_results_without_a_blob_are_not_found_and_are_collected_as_garbage(place: Place) -> None:
    # given: a fit that nobody used for an hour, without one of its blobs
    broken = place.tasks[0]
    manifest = place.store.find("fits", broken.key)
    (place.root / f"blobs/{manifest['valid'][:2]}/{manifest['valid']}").unlink()
    age(place.root / f"fits/{broken.key[:2]}/{broken.key}.json", HOUR + 10)

    # when
    spaces = by_space(take_inventory(place.store))
    done = collect(place.store, RetentionRules())

    # then
    assert (spaces["fits"].count, spaces["without a blob"].count) == (3, 1)
    assert sum(share.count for share in by_kind(take_inventory(place.store)).values()) == 3
    assert done.shares["without a blob"].count == 1
    assert place.results.find(broken) is None
    assert all(place.results.find(task) for task in place.tasks[1:])


def test_garbage_is_removed_after_an_hour_and_finished_work_is_kept(place: Place) -> None:
    young, old = place.store.put(b"young"), place.store.put(b"old")
    age(place.root / f"blobs/{old[:2]}/{old}", HOUR + 10)
    for name in ("damaged/x", "fits/.new-abc"):
        (place.root / name).parent.mkdir(exist_ok=True)
        (place.root / name).write_bytes(b"123")
        age(place.root / name, HOUR + 10)

    done = collect(place.store, RetentionRules())

    assert {reason: (share.count, share.size) for reason, share in done.shares.items()} == {
        "unnamed blobs": (1, 3),
        "damaged": (1, 3),
        "torn writes": (1, 3),
    }
    assert place.store.get(young) == b"young"
    assert not (place.root / f"blobs/{old[:2]}/{old}").exists()
    assert done.after == place.on_disk() == done.before - 9
    assert all(place.results.find(task) for task in place.tasks)


def test_a_dry_run_reports_the_same_and_removes_nothing(place: Place) -> None:
    place.store.put(b"garbage")
    place.results.keep_checkpoint(Checkpointed(place.tasks[0], b"state"))
    place.grow_old()
    rules, before = RetentionRules(older_than=DAY, max_size=20_000), names(place.backend)

    said = collect(place.store, rules, dry_run=True)

    assert names(place.backend) == before
    assert collect(place.store, rules) == said


def test_checkpoints_of_finished_tasks_are_removed_and_others_only_on_request(place: Place) -> None:
    finished, other = place.tasks[0], plan_of("{n: svm}").tasks[0]
    for task in (finished, other):
        place.results.keep_checkpoint(Checkpointed(task, f"state of {task}".encode()))

    collect(place.store, RetentionRules())

    assert place.results.checkpoint(finished) is None
    assert place.results.checkpoint(other) == f"state of {other}".encode()
    done = collect(place.store, RetentionRules(checkpoints=True))
    assert place.results.checkpoint(other) is None
    assert list(done.shares) == ["checkpoints"]
    assert by_space(take_inventory(place.store))["unnamed blobs"].count == 0


def test_results_unused_for_the_given_time_are_removed_with_their_blobs(place: Place) -> None:
    place.grow_old(10 * DAY)
    used = place.tasks[1]
    assert place.results.find(used)

    collect(place.store, RetentionRules(older_than=9 * DAY))

    assert [place.has(task) for task in place.tasks] == [task is used for task in place.tasks]
    assert place.results.find(used), "its blobs are all there"
    assert by_space(take_inventory(place.store))["unnamed blobs"].count == 0


def test_a_blob_that_another_task_refers_to_is_kept(place: Place) -> None:
    first, second = place.tasks[:2]
    for task in (first, second):
        place.store.set_aside("fits", task.key)
        place.results.keep(Fitted(task, place.rows(9), [], {"a": b"shared"}, seconds=1, complete=True))
    place.grow_old(10 * DAY)
    place.results.find(second)

    collect(place.store, RetentionRules(older_than=DAY))

    assert not place.has(first)
    assert place.results.find(second)


def test_above_the_size_limit_the_least_recently_used_results_are_removed_first(place: Place) -> None:
    for number, task in enumerate(place.tasks):  # the last was used longest ago
        age(place.root / f"fits/{task.key[:2]}/{task.key}.json", (number + 2) * DAY)
    for name in names(place.backend, "blobs"):
        age(place.root / name, 30 * DAY)
    one = take_inventory(place.store).size / 4

    done = collect(place.store, RetentionRules(max_size=int(2.5 * one)))

    assert [place.has(task) for task in place.tasks] == [True, True, False, False]
    assert done.after == place.on_disk() <= 2.5 * one
    assert list(done.shares) == ["least recently used fits"]


def test_results_used_within_the_hour_are_kept_even_above_the_size_limit(place: Place) -> None:
    place.grow_old()
    place.results.find(place.tasks[0])

    done = collect(place.store, RetentionRules(max_size=0, older_than=0))

    assert [place.has(task) for task in place.tasks] == [True, False, False, False]
    assert done.after == place.on_disk() > 0


def test_results_that_a_running_job_requires_are_kept_whatever_their_age(place: Place) -> None:
    place.results.keep_checkpoint(Checkpointed(place.tasks[0], b"state"))
    needed = place.tasks[0]
    with place.store.lease("job", waiting=lambda holder: None, keys=[needed.key]):
        place.grow_old()

        collect(place.store, RetentionRules(max_size=0, checkpoints=True))

        assert [place.has(task) for task in place.tasks] == [True, False, False, False]
        assert place.results.checkpoint(needed) == b"state"
    place.grow_old()
    collect(place.store, RetentionRules(max_size=0))
    assert not place.has(needed)


def test_putting_a_blob_again_renews_its_age(place: Place) -> None:
    name = place.store.put(b"twice")
    age(place.root / f"blobs/{name[:2]}/{name}", 2 * HOUR)

    place.store.put(b"twice")
    collect(place.store, RetentionRules())

    assert place.store.get(name) == b"twice"


def test_collection_during_a_job_never_leaves_partial_results(place: Place) -> None:
    gone = found_again = 0
    for turn in range(60):
        # given: old results that are being collected, and a job that needs them just then
        place.grow_old()
        other = Store(LocalBackend(place.root))
        collector = threading.Thread(target=collect, args=(other, RetentionRules(max_size=0)))
        collector.start()
        time.sleep(turn % 10 * 0.001)

        # when
        for number, task in enumerate(place.tasks):
            fit = place.results.find(task)
            found_again += fit is not None
            if fit is None:
                gone += 1
                files = {"model.skops": bytes([number]) * 10_000}
                fit = place.results.keep(Fitted(task, place.rows(number), [], files, seconds=2.0, complete=True))
            assert place.results.files(fit) == {"model.skops": bytes([number]) * 10_000}
        collector.join()

        # then: it is whole, and was never found incomplete
        assert all(place.results.find(task) for task in place.tasks)
        assert not (place.root / "damaged").exists()
    assert gone > 5, "the collector came too late"
    assert found_again > 5, "the job came too late"


def test_a_manifest_of_another_space_keeps_its_blobs(place: Place) -> None:
    blob = place.store.put(b"features")
    place.store.commit("features", "cd" * 32, {"nested": {"arrays": [blob]}})
    place.grow_old()

    collect(place.store, RetentionRules())

    assert place.store.get(blob) == b"features"
    assert by_space(take_inventory(place.store))["features"].count == 1
    assert json.loads(place.backend.read(f"features/cd/{'cd' * 32}.json") or b"")["body"]
