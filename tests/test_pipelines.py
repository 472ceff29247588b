"""Every job in `pipelines/` runs, with the overrides for a small run from its first lines."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from tests.jobs import ROOT, Here

from quorate.spec import load_job

PIPELINES = sorted((ROOT / "pipelines").rglob("*.yaml"))
DATA = Path(os.environ.get("QUORATE_DATA", ROOT.parent / "shared" / "data"))


def first_look(path: Path) -> list[str]:
    """The overrides that the job's comment names for a run in seconds."""
    (line,) = [line for line in path.read_text(encoding="utf-8").splitlines() if "A first look" in line]
    return re.findall(r"--set (\S+)", line)


@pytest.mark.parametrize(
    "path",
    [
        path if path.parent.name == "contest" and path.stem == "digits" else pytest.param(path, marks=pytest.mark.slow)
        for path in PIPELINES
    ],
    ids=lambda path: str(path.relative_to(ROOT / "pipelines")),
)
def test_a_job_runs_at_the_size_that_it_names(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "QUORATE_DATA" in path.read_text(encoding="utf-8"):
        if not DATA.is_dir():
            pytest.skip(f"its data are not in {DATA}; set QUORATE_DATA")
        monkeypatch.setenv("QUORATE_DATA", str(DATA))
    settings = [*first_look(path), "execution.executor=local", "tracking.enabled=false"]
    here = Here(tmp_path)
    job = load_job(path, settings)

    board = here.run_loaded(job)

    assert board["ensemble"]["oof"]["nll"] > 0
    assert all(row["status"] == "ok" for row in board["members"])
