"""Finished work in the store, if another process was first or the disk has damaged a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.execution.jobs import fitted, plan_of, run

from quorate.execution.local import LocalExecutor
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
