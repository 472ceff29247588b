"""Finished fit tasks and checkpoints in a store."""

from __future__ import annotations

import hashlib

import numpy as np
import obstore
import pytest
from tests.store.contents import flip_a_bit, names
from tests.tiny import plan_of

from quorate.execution.content import WrittenBlob
from quorate.execution.events import Checkpointed, Fitted
from quorate.results.results import Results
from quorate.store import open_store


@pytest.fixture
def fitted() -> Fitted:
    task = plan_of("{m: svm}").tasks[0]
    valid = np.random.default_rng(0).dirichlet(np.ones(3), 18).astype(np.float32)
    history = [{"train_loss": 0.1, "seconds": 1.5}, {"train_loss": float("inf"), "seconds": 0.1}]
    return Fitted(task, valid, history, {"member.json": b"{}", "model.skops": b"model"}, seconds=2.5, complete=True)


def test_a_finished_task_is_found_as_it_was_stored(fitted, store):
    results = Results(store)
    assert results.find(fitted.task) is None

    kept, found = results.keep(fitted), results.find(fitted.task)

    assert found is not None and found.reused and not kept.reused
    for fit in (kept, found):
        np.testing.assert_array_equal(fit.valid, fitted.valid)
        assert fit.valid.dtype == np.float32
        assert (fit.history, fit.seconds) == (fitted.history, 2.5)
        assert results.files(fit) == fitted.files


def test_a_task_whose_files_a_worker_has_written_is_committed_with_their_names(fitted, store):
    results = Results(store)
    written = results.written(fitted)

    kept = results.keep(written)

    assert all(isinstance(content, WrittenBlob) for content in written.files.values())
    assert written.files["model.skops"] == WrittenBlob(hashlib.sha256(b"model").hexdigest())
    assert results.files(kept) == fitted.files
    again = results.find(fitted.task)
    assert again is not None and again.files == kept.files


def test_a_state_that_a_worker_has_written_is_the_newest_checkpoint(fitted, store, backend):
    results = Results(store)
    results.keep_checkpoint(Checkpointed(fitted.task, b"first"))

    results.keep_checkpoint(Checkpointed(fitted.task, WrittenBlob(store.put(b"second"))))

    assert results.checkpoint(fitted.task) == b"second"
    assert len(names(backend, "blobs")) == 1, "the first one is gone"


def test_finding_a_task_takes_one_request_per_blob_and_two_for_the_record(fitted, s3, monkeypatch):
    results = Results(open_store(s3.new_store()))
    results.keep(fitted)
    asked = []
    for name in ("get", "put", "head", "delete", "list"):
        real = getattr(obstore, name)
        watched = lambda *args, name=name, real=real, **more: (asked.append(name), real(*args, **more))[1]  # noqa: E731
        monkeypatch.setattr(obstore, name, watched)

    assert results.find(fitted.task) is not None

    assert asked == ["get", "put", "get", "get", "get", "get"], "record, its last use; predictions, curves, two files"


@pytest.mark.parametrize("content", ["valid", "history", "files"])
def test_a_task_with_a_damaged_blob_counts_as_not_finished_and_can_be_repeated(content, fitted, store, backend):
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


def test_the_first_commit_of_two_processes_is_kept(fitted, store):
    results, later = Results(store), np.full_like(fitted.valid, 1 / 3)
    results.keep(fitted)

    kept = results.keep(Fitted(fitted.task, later, [], {}, seconds=9, complete=True))

    np.testing.assert_array_equal(kept.valid, fitted.valid)
    assert kept.seconds == 2.5


def test_an_incomplete_task_is_never_stored(fitted, store):
    stopped = Fitted(fitted.task, fitted.valid, [], {}, seconds=1, complete=False)

    with pytest.raises(AssertionError, match="is not the full task"):
        Results(store).keep(stopped)


def test_the_newest_checkpoint_is_returned_unless_it_is_damaged(fitted, store, backend):
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
