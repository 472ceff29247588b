"""A result that is damaged after it was stored: the job fails, and the next start trains only its task again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.chaos.damage import damage_result, flipped
from tests.jobs import Here

from quorate.job import final_files
from quorate.job.outcome import JobOutcome
from quorate.job.run import JobFailed
from quorate.results.records import FitRecord
from quorate.store import open_store

JOB: dict[str, Any] = {
    "name": "damaged",
    "data": {"kind": "digits", "limit": 200},
    "validation": {"folds": 2},
    "members": {"logistic": {"kind": "logistic"}},
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


def test_a_result_that_is_damaged_while_the_job_runs_is_trained_again_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, make_board = Here(tmp_path), final_files.make_board

    def damage_before(outcome: JobOutcome, **options: Any) -> Any:
        store = open_store(here.store)
        key = outcome.plan.tasks[0].key
        record = store.find(FitRecord.space, key)
        assert record is not None
        position = ["history", "valid", *sorted(record["files"])].index("model.skops")
        assert damage_result(store, [key], flipped, position)
        return make_board(outcome, **options)

    with monkeypatch.context() as patch:
        patch.setattr(final_files, "make_board", damage_before)
        with pytest.raises(JobFailed, match=r"was damaged while the job ran: the blob .* start the job again"):
            here.run(JOB)

    board = here.run(JOB)

    assert board["tasks"] == {"total": 2, "trained": 1, "reused": 1, "failed": 0}
    undisturbed = tmp_path / "other"
    undisturbed.mkdir()
    assert board["oof_sha256"] == Here(undisturbed).run(JOB)["oof_sha256"]
