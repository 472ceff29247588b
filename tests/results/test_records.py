"""Records of this version and of earlier ones survive a round trip through the store; others are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tests.tiny import plan_of

from quorate.errors import UserError
from quorate.execution.events import Checkpointed, Fitted
from quorate.results.records import CheckpointRecord, FeatureRecord, FitRecord, PredictionRecord
from quorate.results.results import Results
from quorate.store import Damaged, Store, open_store

BLOB = "0123456789abcdef" * 4
FIT: dict[str, Any] = {
    "task": "m fold 1",
    "kind": "svm",
    "valid": BLOB,
    "history": BLOB,
    "files": {"member.json": BLOB},
    "seconds": 2.5,
    "predict_ms": None,
    "estimated_memory": {"node": 700, "accelerator": 0},
    "used_memory": {"node": 600, "accelerator": 0},
}
RECORDS: dict[type[FitRecord | CheckpointRecord | PredictionRecord | FeatureRecord], dict[str, Any]] = {
    FitRecord: FIT,
    CheckpointRecord: {"state": BLOB},
    PredictionRecord: {"proba": BLOB},
    FeatureRecord: {"matrix": BLOB},
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def done() -> Fitted:
    valid = np.random.default_rng(0).dirichlet(np.ones(3), 18).astype(np.float32)
    return Fitted(plan_of("{m: svm}").tasks[0], valid, [], {"member.json": b"{}"}, seconds=2.5, complete=True)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.space)
def test_a_record_is_written_as_it_was_read(kind: type[FitRecord]) -> None:
    found = kind.read(RECORDS[kind])

    assert found.version == 1 and found.to_json() == RECORDS[kind]
    with pytest.raises(ValidationError, match="frozen"):
        found.version = 2  # type: ignore[misc]


def test_the_names_in_the_store_have_not_changed(store: Store, done: Fitted) -> None:
    results = Results(store)
    results.keep(done)
    results.keep_checkpoint(Checkpointed(done.task, b"state"))
    results.keep_prediction("a" * 64, done.valid)

    assert set(store.find("fits", done.task.key) or ()) == set(FIT)
    assert set(store.find("checkpoints", done.task.key) or ()) == {"state"}
    assert set(store.find("predictions", "a" * 64) or ()) == {"proba"}


def test_records_of_earlier_versions_lack_the_time_of_a_prediction_and_the_memory() -> None:
    earlier = {key: FIT[key] for key in ("valid", "history", "files", "seconds")}

    found = FitRecord.read(earlier)

    assert (found.predict_ms, found.kind, found.seconds) == (None, "unknown", 2.5)
    assert found.estimated_memory is None and found.used_memory is None


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.space)
def test_a_record_of_a_later_version_is_refused_and_stays(kind: type[FitRecord], store: Store, done: Fitted) -> None:
    store.commit(kind.space, done.task.key, RECORDS[kind] | {"version": 2})

    with pytest.raises(UserError) as refused:
        kind.read(store.find(kind.space, done.task.key) or {})

    assert str(refused.value) == (
        f"a record in {kind.space}/ of the store has version 2, but this version of Quorate reads 1; use the version "
        "that wrote it, or another store"
    )


def test_a_job_fails_on_a_record_of_a_later_version_without_repeating_the_work(store: Store, done: Fitted) -> None:
    store.commit("fits", done.task.key, FIT | {"version": 2})

    with pytest.raises(UserError, match="fits/ of the store has version 2"):
        Results(store).find(done.task)

    assert store.find("fits", done.task.key) is not None


@pytest.mark.parametrize("strange", [{}, FIT | {"files": []}, FIT | {"seconds": "long"}, FIT | {"version": "x"}])
def test_an_unreadable_record_is_set_aside_and_counts_as_not_finished(
    strange: dict[str, Any], store: Store, done: Fitted, tmp_path: Path
) -> None:
    store.commit("fits", done.task.key, strange)
    with pytest.raises(Damaged, match="a record in fits/ cannot be read"):
        FitRecord.read(strange)
    results = Results(store)

    assert results.find(done.task) is None

    assert (tmp_path / "store" / "damaged" / f"fits-{done.task.key}.json").is_file()
    np.testing.assert_array_equal(results.keep(done).valid, done.valid)
    assert results.find(done.task) is not None


def test_an_unreadable_checkpoint_counts_as_missing(store: Store, done: Fitted) -> None:
    store.commit("checkpoints", done.task.key, {"other": BLOB})

    assert Results(store).checkpoint(done.task) is None
