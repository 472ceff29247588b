"""The driver of a job on the head: a process that is started, killed, and started again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tests.chaos.recovery import has_epochs, running
from tests.chaos.world import World
from tests.clusters import Host

from quorate.store import Store, open_store
from quorate.tracking.journal import records
from quorate.tracking.records import RunRecord


class NothingRunsError(RuntimeError):
    """No fit task runs that a fault could hit."""


@dataclass(frozen=True)
class Digests:
    """SHA-256 of what a job predicts."""

    oof: str
    """Of the out-of-fold predictions of the members, from the leaderboard."""
    ensemble: str
    """Of the predictions of the ensemble for the training and the test rows."""

    @classmethod
    def of(cls, run: Path) -> Digests:
        total = hashlib.sha256()
        for name in ("oof.npz", "test.npz"):
            with np.load(run / name) as arrays:
                total.update(np.ascontiguousarray(arrays["ensemble"]).tobytes())
        board = json.loads((run / "leaderboard.json").read_text())
        return cls(board["oof_sha256"], total.hexdigest())


class Driver:
    """`quorate train` on the head of a world, in a folder of its own."""

    def __init__(self, world: World, job: dict[str, Any], folder: Path, services: frozenset[str]) -> None:
        self.world, self.folder = world, folder
        folder.mkdir(parents=True)
        self._in_bucket = "s3" in services
        self._store = world.server.new_store() if self._in_bucket else str(folder / "store")
        self._variables: dict[str, str] = {"RAY_AUTH_MODE": "disabled"}
        if self._in_bucket:
            self._variables |= world.store_variables
        if "mlflow" in services:
            self._variables |= {"MLFLOW_TRACKING_URI": world.tracking_uri}
        tracking = {"enabled": "mlflow" in services}
        (folder / "job.yaml").write_text(yaml.safe_dump({**job, "tracking": tracking}))
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        """Start the command, for the first time or again."""
        words = ["-m", "quorate", "train", "job.yaml", "--store", self._store, "--address", self.world.address]
        env = {**self._variables, **self.world.python("driver")}
        kept = {name for name in os.environ if name.startswith(("QUORATE_STORE", "QUORATE_RUNS", "MLFLOW_"))}
        assert not kept, f"unset {', '.join(sorted(kept))}"
        self.starts += 1
        self._process = self.world.head.start(sys.executable, *words, cwd=self.folder, log=self.log.name, env=env)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)
        self._process = None

    @property
    def is_away(self) -> bool:
        """Whether a fault has ended it, and has not started it again."""
        return self._process is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    @property
    def asks_to_be_run_again(self) -> bool:
        """Whether it has ended because it could not reach its store, and said so; a supervisor would start it again."""
        return self.exit_code == 1 and self.log.read_text().rstrip().endswith("run the same command again")

    def give_up(self) -> None:
        """End it, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)

    @property
    def log(self) -> Path:
        return self.world.head.folder / f"{self.folder.name}.log"

    @property
    def runs(self) -> list[Path]:
        """The run folders, one for each start that reached its training."""
        found = (self.folder / "runs").glob("*/journal.jsonl")
        return sorted((path.parent for path in found), key=lambda run: (run / "job.json").stat().st_mtime)

    @cached_property
    def store(self) -> Store:
        """The store, reached without the proxy."""
        return open_store(self._store)

    def digests(self) -> Digests:
        return Digests.of(self.runs[-1])

    @property
    def trains(self) -> bool:
        """Whether an epoch has ended."""
        runs = self.runs
        return bool(runs) and has_epochs(runs[-1] / "journal.jsonl")

    def running(self) -> dict[str, str]:
        """The fit tasks of networks that run, with their workers."""
        runs = self.runs
        return running(runs[-1] / "journal.jsonl") if runs and not self.is_away else {}

    def keys(self) -> dict[str, str]:
        """The keys of the fit tasks that have begun."""
        found = records(self.runs[-1] / "journal.jsonl")
        return {
            one.name: one.tags["quorate.key"] for one in found if isinstance(one, RunRecord) and one.level == "fold"
        }

    def worker(self, target: int) -> tuple[str, str, int]:
        """A fit task that runs, the address of its host, and its process."""
        tasks = sorted(self.running().items())
        if not tasks:
            raise NothingRunsError
        task, worker = tasks[target % len(tasks)]
        host, _, pid = worker.rpartition(":")
        if not Path(f"/proc/{pid}").exists():
            raise NothingRunsError
        return task, host, int(pid)

    def host(self, target: int) -> tuple[Host, tuple[str, ...]]:
        """A host on which fit tasks run, and these tasks."""
        _, address, _ = self.worker(target)
        there = tuple(task for task, worker in self.running().items() if worker.startswith(f"{address}:"))
        (host,) = [host for host in self.world.others if host.address == address]
        return host, there
