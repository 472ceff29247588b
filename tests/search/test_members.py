"""The searches of a job, and the job after them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from quorate.execution.interrupt import StopRequest
from quorate.job.budget import ClosingTime
from quorate.job.environment import Options
from quorate.runs.place import FolderRuns
from quorate.search.members import run_searched_job
from quorate.spec import load_job
from quorate.store import open_store


def test_the_time_of_the_searches_does_not_count_as_a_slow_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    startups: list[float] = []
    monkeypatch.setattr(ClosingTime, "measure", lambda self, executor, startup: startups.append(startup))
    job = {
        "name": "small",
        "data": {"kind": "digits", "limit": 200},
        "validation": {"folds": 2},
        "members": {"bayes": {"kind": "naive_bayes", "search": {"trials": 2, "method": "random"}}},
        "execution": {"executor": "local", "budget": 10_000},
        "tracking": {"enabled": False},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    began = time.monotonic() - 1_000
    options = Options(open_store(str(tmp_path / "store")), FolderRuns(tmp_path / "runs"), "local", began=began)

    board = run_searched_job(
        load_job(tmp_path / "job.yaml"), options, console=Console(quiet=True), stop=StopRequest(), errors=None
    )

    assert board.budget is not None and board.budget.used_seconds > 1_000
    assert max(startups) < 500
