"""Finished work in the store, if another process was first or the disk has damaged a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.execution import tight_members  # noqa: F401  (registers a kind)
from tests.execution.jobs import CNN, fitted, plan_of, run

from quorate.execution.events import Checkpointed
from quorate.execution.local import LocalExecutor
from quorate.plan.half_batch import keys_of_results
from quorate.results.results import Results
from quorate.store import open_store


def test_a_damaged_result_is_replaced_by_an_intact_one(tmp_path: Path) -> None:
    plan = plan_of({"logistic": {"kind": "logistic"}})
    done = next(iter(fitted(run(LocalExecutor(), plan)).values()))
    store = open_store(str(tmp_path))
    missing = "0" * 64
    store.commit("fits", done.task.key, {"valid": missing, "history": missing, "files": {}, "seconds": 1.0})
    results = Results(store)

    kept = results.keep(done)

    np.testing.assert_array_equal(kept.valid, done.valid)
    found = results.find(done.task)
    assert found is not None
    np.testing.assert_array_equal(found.valid, done.valid)
    assert any((tmp_path / "damaged").iterdir())


def test_half_of_a_batch_has_its_own_key_and_a_later_start_on_an_accelerator_finds_it(tmp_path: Path) -> None:
    plan = plan_of({"cnn": {**CNN, "kind": "tight", "epochs": 1, "batch_size": 64}})
    done = next(iter(fitted(run(LocalExecutor(), plan)).values()))
    planned = next(task for task in plan.tasks if task.key == done.task.key)
    assert done.task.halved and not planned.halved
    store = open_store(str(tmp_path))
    results = Results(store)
    results.keep_checkpoint(Checkpointed(planned, b"whole"))
    results.keep_checkpoint(Checkpointed(done.task, b"half"))
    assert (results.checkpoint(planned), results.checkpoint(done.task)) == (b"whole", b"half")

    results.keep(done)
    results.drop_checkpoint(done.task)

    assert store.find("fits", planned.key) is None and store.find("fits", done.task.result_key) is not None
    assert results.find(planned) is None, "a processor has enough memory for the whole batch"
    there = replace(planned, numerics=replace(planned.numerics, device="cuda"))
    assert keys_of_results(planned) == [planned.key]
    assert keys_of_results(there) == [planned.key, done.task.result_key]
    found = results.find(there)
    assert found is not None and found.task.halved and found.task.key == planned.key
    np.testing.assert_array_equal(found.valid, done.valid)
    assert results.checkpoint(planned) is None and results.checkpoint(done.task) is None
