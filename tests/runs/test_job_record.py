"""The parts of a job that a list of runs reads, without loading the kinds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from quorate.runs.errors import RunError
from quorate.runs.folder import RunFolder
from quorate.runs.history import past_runs
from quorate.runs.job_record import JobRecord, result_parameters

OWN: dict[str, Any] = {
    "name": "mine",
    "seed": 3,
    "data": {"kind": "my_package.rows:people", "train": "/data/2026/people.csv", "label": "class"},
    "members": {"cnn": {"kind": "net", "copies": 3}, "own": {"kind": "my_package.members:Own", "copies": 1}},
    "tracking": {"enabled": True},
}
"""A job that requires code that is not installed."""


def written(run: Path, content: str) -> RunFolder:
    run.mkdir(parents=True)
    (run / "job.json").write_text(content, encoding="utf-8")
    os.utime(run / "job.json", (0, 0))
    return RunFolder(run)


def test_a_run_whose_own_code_is_missing_is_listed(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine-1", json.dumps(OWN))

    (run,) = past_runs(tmp_path)

    assert (run.name, run.state, run.members) == ("mine-1", "interrupted", 4)
    assert run.data == "my_package.rows:people 2026/people.csv"
    assert JobRecord.read(folder.path / "job.json").tracking.enabled
    with pytest.raises(RunError, match="if the job uses your own code"):
        folder.spec()


@pytest.mark.parametrize("content", ["", "[]", "null", '{"members": [1]}', '{"members": {"cnn": {"copies": "many"}}}'])
def test_a_folder_without_a_valid_job_file_is_skipped(tmp_path: Path, content: str) -> None:
    written(tmp_path / "other", content)

    assert past_runs(tmp_path) == []


def test_parameters_that_can_change_the_result_are_named_by_their_path(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine-1", json.dumps(OWN))

    found = result_parameters(folder.path / "job.json")

    assert found["members.cnn.copies"] == 3 and found["data.label"] == "class" and found["seed"] == 3
    assert found["combiner"] is None
    assert not any(name.startswith(("tracking", "name")) for name in found)
