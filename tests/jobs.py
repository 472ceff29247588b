"""Runs small jobs in this process or as the real command."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from quorate.execution.base import Executor
from quorate.execution.interrupt import StopRequest
from quorate.execution.workplace import Workplace
from quorate.job.fits import FitRunner
from quorate.job.run import Options, run_job
from quorate.runs.place import FolderRuns
from quorate.spec import Job, load_job
from quorate.store import open_store

ROOT = Path(__file__).parents[1]

NET = {"kind": "net", "arch": "small_cnn", "epochs": 3, "schedule": "one_cycle", "lr": 0.05, "dropout": 0.1}
SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"kind": "digits", "limit": 400},
    "validation": {"folds": 2},
    "members": {
        "svm": {"kind": "svm", "C": 10},
        "logistic": {"kind": "logistic"},
        "cnn": {**NET, "copies": 2},
    },
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


def runner_with(store: Path | str, place: Workplace | None = None, said: list[str] | None = None) -> FitRunner:
    """Trains single networks in this process, or in another place, and keeps them in this store; adds to `said`."""
    here = Workplace("local", None, lambda executor: None)
    return FitRunner(place or here, open_store(str(store)), StopRequest(), said.append if said is not None else print)


class ThisRay(Workplace):
    """The Ray that this process is connected to."""

    def __init__(self) -> None:
        super().__init__("ray", "local", lambda executor: None)

    def executor(self) -> Executor:
        from quorate.execution.ray.executor import RayExecutor

        return RayExecutor(own=False)


class Here:
    """A folder with a job file, a store and runs of its own."""

    def __init__(self, folder: Path, store: str | None = None) -> None:
        self.folder = folder
        self.store = store or str(folder / "store")
        self.job_file = folder / "job.yaml"
        self.said = ""

    def write(self, job: dict[str, Any]) -> Path:
        self.job_file.write_text(yaml.safe_dump(job, sort_keys=False))
        return self.job_file

    def run(self, job: dict[str, Any], *overrides: str, pictures: bool = False) -> dict[str, Any]:
        """The leaderboard of the job, run in this process, as scripts read it from `leaderboard.json`."""
        return self.run_loaded(load_job(self.write(job), overrides), pictures=pictures)

    def run_loaded(self, loaded: Job, *, pictures: bool = False) -> dict[str, Any]:
        """The same of a job that has been read."""
        store, executor = open_store(self.store), loaded.spec.execution.executor
        options = Options(store, FolderRuns(self.folder / "runs"), executor, pictures=pictures)
        text = io.StringIO()
        try:
            board = run_job(loaded, options, console=Console(file=text, width=200), stop=StopRequest())
        finally:
            self.said = text.getvalue()
        found: dict[str, Any] = json.loads(board.to_text())
        return found

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """The real command in this folder."""
        return subprocess.Popen(
            [sys.executable, "-m", "quorate", *arguments],
            cwd=self.folder,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "quorate", *arguments],
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("QUORATE_", "MLFLOW_"))}
        own = {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", "COLUMNS": "200"}
        return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)]), **own, **more}

    def newest_run(self) -> Path:
        return max((self.folder / "runs").iterdir(), key=lambda path: path.stat().st_mtime)

    def board(self) -> dict[str, Any]:
        board: dict[str, Any] = json.loads((self.newest_run() / "leaderboard.json").read_text())
        return board
