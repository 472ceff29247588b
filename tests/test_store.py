"""What every backend of the store keeps: whole or not at all, verified, first come, held by one."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.tiny import plan_of

from quorate.errors import UserError
from quorate.execution.base import Checkpointed, Fitted
from quorate.results import Results
from quorate.store import Backend, Damaged, LocalBackend, Store, open_store

BACKENDS = {"local": LocalBackend}

KEY = "ab" * 32


@pytest.fixture(params=BACKENDS)
def backend(request, tmp_path) -> Backend:
    return BACKENDS[request.param](tmp_path / "store")


@pytest.fixture
def store(backend) -> Store:
    return Store(backend)


def flip_a_bit(backend: Backend, name: str) -> None:
    content = backend.read(name)
    assert content is not None
    backend.write(name, content[:-1] + bytes([content[-1] ^ 1]))


def names(backend: Backend, prefix: str = "") -> list[str]:
    return list(backend.names(prefix))


def python(code: str, *arguments: str, **options) -> subprocess.Popen:
    """A process with `store` open at the first argument."""
    lines = "import os, sys, time\nfrom pathlib import Path\nfrom quorate.store import LocalBackend, Store\n"
    opened = "store = Store(LocalBackend(Path(sys.argv[1])))\n"
    command = [sys.executable, "-c", lines + opened + code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


# Named bytes


def test_what_is_written_is_read_and_replaced(backend):
    assert backend.read("a/b") is None

    for content in (b"first", b"second", b""):
        backend.write("a/b", content)
        assert backend.read("a/b") == content


def test_only_the_first_create_counts(backend):
    assert backend.create("a/b", b"first")
    assert not backend.create("a/b", b"second")
    assert backend.read("a/b") == b"first"


def test_a_swap_wants_what_is_there(backend):
    assert not backend.swap("a", b"something", b"1")
    assert backend.swap("a", None, b"1")
    assert not backend.swap("a", None, b"2")
    assert not backend.swap("a", b"other", b"2")
    assert backend.swap("a", b"1", b"2")
    assert backend.read("a") == b"2"
    assert backend.swap("a", b"2", None)
    assert backend.read("a") is None


def test_of_many_threads_that_swap_at_once_each_counts_once(backend):
    def count() -> None:
        done = 0
        while done < 10:
            present = backend.read("n")
            done += backend.swap("n", present, str(int(present or b"0") + 1).encode())

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert backend.read("n") == b"40"


def test_names_are_listed_below_a_prefix_in_order(backend):
    for name in ("b/2", "b/1", "a/1"):
        backend.write(name, b"")
    backend.swap("b/3", None, b"")

    assert names(backend, "b") == ["b/1", "b/2", "b/3"]
    assert names(backend, "none") == []


def test_moving_and_removing_what_is_not_there_is_no_error(backend):
    backend.move("none", "elsewhere")
    backend.remove("none")
    backend.write("a", b"1")
    backend.move("a", "x/y")

    assert names(backend) == ["x/y"]


# Blobs and manifests


def test_a_blob_is_named_by_its_content(store, backend):
    name = store.put(b"content")

    assert store.put(b"content") == name
    assert store.get(name) == b"content"
    assert names(backend, "blobs") == [f"blobs/{name[:2]}/{name}"]


def test_a_flipped_bit_is_found_and_the_blob_set_aside(store, backend):
    # given
    name = store.put(b"content")
    flip_a_bit(backend, f"blobs/{name[:2]}/{name}")

    # when, then
    with pytest.raises(Damaged, match="does not match its SHA-256"):
        store.get(name)
    assert backend.read(f"damaged/{name}") is not None
    with pytest.raises(Damaged, match="is missing"):
        store.get(name)
    store.put(b"content")
    assert store.get(name) == b"content"


def test_putting_a_blob_again_mends_a_damaged_one(store, backend):
    name = store.put(b"content")
    flip_a_bit(backend, f"blobs/{name[:2]}/{name}")

    store.put(b"content")

    assert store.get(name) == b"content"


def test_the_first_commit_stays(store):
    assert store.find("fits", KEY) is None
    assert store.commit("fits", KEY, {"who": "first"}) == {"who": "first"}
    assert store.commit("fits", KEY, {"who": "second"}) == {"who": "first"}
    assert store.find("fits", KEY) == {"who": "first"}
    assert list(store.keys("fits")) == [KEY]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"body": {"who": "x"}}', b'{"body": {"who": "x"}, "sha256": "0"}']
)
def test_a_damaged_manifest_is_set_aside_and_its_place_is_free(damage, store, backend):
    store.commit("fits", KEY, {"who": "first"})
    backend.write(f"fits/{KEY[:2]}/{KEY}.json", damage)

    assert store.find("fits", KEY) is None
    assert backend.read(f"damaged/fits-{KEY}.json") == damage
    assert store.commit("fits", KEY, {"who": "second"}) == {"who": "second"}


def test_a_commit_over_a_damaged_manifest_counts(store, backend):
    store.commit("fits", KEY, {"who": "first"})
    flip_a_bit(backend, f"fits/{KEY[:2]}/{KEY}.json")

    assert store.commit("fits", KEY, {"who": "second"}) == {"who": "second"}
    assert store.find("fits", KEY) == {"who": "second"}


def test_of_two_threads_that_commit_at_once_one_stays_and_both_know_it(backend):
    for i in range(20):
        barrier, found = threading.Barrier(2), {}

        def commit(who: int, key: str = f"{i:064}", barrier=barrier, found=found) -> None:
            barrier.wait()
            found[who] = Store(backend).commit("fits", key, {"who": who})

        threads = [threading.Thread(target=commit, args=(who,)) for who in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert found[1] == found[2] == Store(backend).find("fits", f"{i:064}")


def test_of_two_processes_that_commit_at_once_one_stays_and_both_know_it(tmp_path):
    code = (
        "while time.time() < float(sys.argv[2]): pass\n"
        "print([store.commit('fits', f'{i:064}', {'who': os.getpid()})['who'] for i in range(50)])"
    )
    start = str(time.time() + 0.7)

    both = [python(code, str(tmp_path), start) for _ in range(2)]
    first, second = (process.communicate(timeout=30)[0] for process in both)

    assert first == second
    assert set(json.loads(first)) <= {process.pid for process in both}


def test_replacing_a_checkpoint_drops_what_only_the_old_one_named(store, backend):
    kept, old, new = (store.put(content) for content in (b"kept", b"old", b"new"))
    store.replace("checkpoints", KEY, {"a": kept, "b": old})

    store.replace("checkpoints", KEY, {"a": kept, "b": new})

    assert store.find("checkpoints", KEY) == {"a": kept, "b": new}
    assert {Path(name).name for name in names(backend, "blobs")} == {kept, new}
    store.drop("checkpoints", KEY)
    store.drop("checkpoints", KEY)
    assert store.find("checkpoints", KEY) is None
    assert names(backend, "blobs") == []


# A crash


@pytest.mark.parametrize("method", ["write", "create"])
def test_a_crash_between_writing_and_placing_leaves_nothing_under_the_name(method, tmp_path):
    # given: a process that dies when its bytes are on disk and not yet in place
    code = (
        "os.link = lambda *a: os._exit(9)\nPath.replace = lambda *a: os._exit(9)\n"
        f"LocalBackend(Path(sys.argv[1])).{method}('fits/ab/key.json', b'half')"
    )
    process = python(code, str(tmp_path))
    assert process.wait(30) == 9
    process.communicate()
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) == 1 and left[0].startswith(".new-"), "the crash came too early or too late"

    # when
    backend = LocalBackend(tmp_path)

    # then
    assert backend.read("fits/ab/key.json") is None
    assert names(backend) == []
    assert backend.create("fits/ab/key.json", b"whole")
    assert backend.read("fits/ab/key.json") == b"whole"


def test_a_write_that_fails_leaves_no_file_behind(tmp_path):
    backend = LocalBackend(tmp_path)
    (tmp_path / "a").mkdir()

    with pytest.raises(OSError, match="directory"):
        backend.write("a", b"over a folder")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# Leases


def never(holder: str) -> None:
    raise AssertionError(f"waited for {holder}")


def test_a_lease_is_held_by_one_and_free_when_it_is_given_back(store, backend):
    with store.lease("job", waiting=never):
        (name,) = names(backend, "leases")
        holder = json.loads(backend.read(name) or b"")
        assert holder["pid"] == os.getpid()
    assert names(backend, "leases") == []
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
def test_a_lease_that_nobody_can_read_is_taken(content, store, backend):
    if content == b'{"host": "there"}':
        content = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "born": "another life"}).encode()
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
    with store.lease("job", waiting=never, beat=0.02):
        backend.write("leases/job.json", b"the next one's")
        time.sleep(0.1)

    assert backend.read("leases/job.json") == b"the next one's"


# Opening


def test_a_store_is_opened_at_a_path_or_a_file_uri(tmp_path):
    name = open_store(str(tmp_path / "deep" / "store")).put(b"content")

    assert open_store(f"file://{tmp_path}/deep/store").get(name) == b"content"


@pytest.mark.parametrize(
    ("uri", "message"), [("s3://bucket/x", "stores are folders here"), ("/dev/null/x", "cannot write there")]
)
def test_a_place_that_is_no_folder_is_refused(uri, message):
    with pytest.raises(UserError, match=f"--store {uri}: {message}"):
        open_store(uri)


# Finished fit tasks


@pytest.fixture
def fitted() -> Fitted:
    task = plan_of("{m: svm}").tasks[0]
    valid = np.random.default_rng(0).dirichlet(np.ones(3), 18).astype(np.float32)
    history = [{"train_loss": 0.1, "seconds": 1.5}, {"train_loss": float("inf"), "seconds": 0.1}]
    return Fitted(task, valid, history, {"member.json": b"{}", "model.skops": b"model"}, seconds=2.5, complete=True)


def test_a_finished_task_is_found_as_it_was_kept(fitted, store):
    results = Results(store)
    assert results.find(fitted.task) is None

    kept, found = results.keep(fitted), results.find(fitted.task)

    assert found is not None and found.reused and not kept.reused
    for fit in (kept, found):
        np.testing.assert_array_equal(fit.valid, fitted.valid)
        assert fit.valid.dtype == np.float32
        assert (fit.history, fit.seconds) == (fitted.history, 2.5)
        assert results.files(fit) == fitted.files


@pytest.mark.parametrize("content", ["valid", "history", "files"])
def test_a_task_with_a_damaged_blob_counts_as_not_done_and_can_be_done_again(content, fitted, store, backend):
    # given
    results = Results(store)
    results.keep(fitted)
    manifest = store.find("fits", fitted.task.key) or {}
    blob = manifest["files"]["model.skops"] if content == "files" else manifest[content]
    flip_a_bit(backend, f"blobs/{blob[:2]}/{blob}")

    # when
    found = results.find(fitted.task)

    # then
    assert found is None
    assert backend.read(f"damaged/{blob}") is not None
    assert backend.read(f"damaged/fits-{fitted.task.key}.json") is not None
    results.keep(fitted)
    assert results.find(fitted.task) is not None


def test_what_another_process_committed_first_stands(fitted, store):
    results, later = Results(store), np.full_like(fitted.valid, 1 / 3)
    results.keep(fitted)

    kept = results.keep(Fitted(fitted.task, later, [], {}, seconds=9, complete=True))

    np.testing.assert_array_equal(kept.valid, fitted.valid)
    assert kept.seconds == 2.5


def test_an_incomplete_task_is_never_kept(fitted, store):
    stopped = Fitted(fitted.task, fitted.valid, [], {}, seconds=1, complete=False)

    with pytest.raises(AssertionError, match="never taken for the full task"):
        Results(store).keep(stopped)


def test_the_newest_checkpoint_is_given_and_a_damaged_one_is_not(fitted, store, backend):
    results, task = Results(store), fitted.task
    assert results.checkpoint(task) is None
    for content in (b"older", b"newer"):
        results.keep_checkpoint(Checkpointed(task, content))
    assert results.checkpoint(task) == b"newer"

    (name,) = names(backend, "blobs")
    flip_a_bit(backend, name)

    assert results.checkpoint(task) is None
    results.keep_checkpoint(Checkpointed(task, b"again"))
    assert results.checkpoint(task) == b"again"
    results.drop_checkpoint(task)
    assert results.checkpoint(task) is None
    assert names(backend, "blobs") == []
