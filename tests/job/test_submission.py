"""Jobs submitted to the head of a real cluster that requires a token, with only its dashboard's port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.clusters import Host, hosts, start_guarded_head
from tests.jobs import NET, Here

TOKEN = "3f" * 32
JOB: dict[str, Any] = {
    "name": "sent",
    "data": {"kind": "digits", "limit": 300},
    "validation": {"folds": 2},
    "members": {"logistic": {"kind": "logistic"}, "cnn": {**NET, "epochs": 3}},
    "execution": {"checkpoint_seconds": 0},
    "tracking": {"enabled": False},
}
LONG = {**JOB, "name": "long", "members": {"logistic": {"kind": "logistic"}, "cnn": {**NET, "epochs": 400}}}


class Cluster:
    """A head, and commands on this machine that reach only its dashboard."""

    def __init__(self, head: Host, dashboard: str, folder: Path) -> None:
        self.head, self.dashboard, self.here = head, dashboard, Here(folder)
        self.home = head.folder / "quorate"
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "HOME": str(folder)}
        self.environment["RAY_API_SERVER_ADDRESS"] = dashboard

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.here.command(*words, **{**self.environment, **more})

    def start(self, *words: str) -> subprocess.Popen[str]:
        return self.here.start(*words, **self.environment)

    def facts(self, name: str) -> dict[str, Any]:
        done = self.command("status", name, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def wait_for(self, text: str, name: str) -> None:
        deadline = time.monotonic() + 120
        while text not in str(self.facts(name)):
            assert time.monotonic() < deadline, (self.facts(name), self.command("logs", name).stdout)
            time.sleep(0.3)

    def driver(self) -> int:
        """The number of the driver's process."""
        for pid in self.head.pids():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"quorate" in words and b"driver" in words:
                return pid
        raise AssertionError("no driver runs")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with hosts(1) as (head,):
        yield Cluster(head, start_guarded_head(head, TOKEN), tmp_path)


def in_this_process(job: dict[str, Any], folder: Path) -> str:
    folder.mkdir()
    sha: str = Here(folder).run({**job, "execution": {**job["execution"], "executor": "local"}})["oof_sha256"]
    return sha


@pytest.mark.system
def test_a_submitted_job_is_followed_to_its_end_and_its_run_is_fetched_and_predicts(
    cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "rows").mkdir()
    cluster.here.write(JOB)

    done = cluster.command("submit", "job.yaml")

    assert done.returncode == 0, done.stdout + done.stderr
    (name,) = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("submitted as ")]
    assert "[4/4]" in done.stdout and "calibrated_greedy" in done.stdout, "the lines of the driver"
    assert TOKEN not in done.stdout + done.stderr
    fetched = cluster.command("fetch", name, "--json")
    assert fetched.returncode == 0, fetched.stderr
    run = tmp_path / json.loads(fetched.stdout)["run"]
    board = json.loads((run / "leaderboard.json").read_text())
    assert board["oof_sha256"] == in_this_process(JOB, tmp_path / "local")
    print(done.stdout)
    print(sorted(map(str, run.rglob("*"))))
