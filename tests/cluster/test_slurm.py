"""The batch script for Slurm: a job that its allocation interrupts continues in the next one."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.cluster.slurm import JOB_ID, Allocation, signal_pid
from tests.clusters import hosts
from tests.jobs import NET, Here

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm" / "quorate.sbatch"
JOB = {
    "name": "slurm",
    "data": {"kind": "digits", "limit": 600},
    "validation": {"folds": 2},
    "members": {"cnn": {**NET, "epochs": 60}},
    "execution": {"checkpoint_seconds": 0},
    "tracking": {"enabled": False},
}
PATIENCE = 300


def test_the_script_is_valid_and_asks_slurm_for_a_signal_and_whole_nodes() -> None:
    checked = subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    asked = set(re.findall(r"^#SBATCH (\S+)$", SCRIPT.read_text(), re.MULTILINE))

    assert {"--signal=B:TERM@180", "--requeue", "--exclusive", "--ntasks-per-node=1", "--open-mode=append"} <= asked


@pytest.mark.slow
def test_an_interrupted_allocation_goes_back_into_the_queue_and_the_next_one_ends_the_job(tmp_path: Path) -> None:
    undisturbed = Here(tmp_path / "undisturbed")
    undisturbed.folder.mkdir()
    sha = undisturbed.run({**JOB, "execution": {"executor": "local"}})["oof_sha256"]
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "job.yaml").write_text(yaml.safe_dump(JOB))
    with hosts(2) as two:
        allocation = Allocation(two, folder)
        try:
            first = allocation.start(SCRIPT, "job.yaml")
            state = folder / ".quorate" / f"slurm-{JOB_ID}"
            _wait(lambda: bool(list((folder / ".quorate" / "store").glob("checkpoints/*"))), allocation, first)
            assert stat.S_IMODE((state / "token").stat().st_mode) == 0o600

            os.kill(signal_pid(first), signal.SIGTERM)

            assert first.wait(PATIENCE) == 143, allocation.said()[-4000:]
            assert allocation.requeued() == f"requeue {JOB_ID}\n"
            assert not state.exists(), "the token of the allocation is removed"

            second = allocation.start(SCRIPT, "job.yaml", restarts=1)

            assert second.wait(PATIENCE) == 0, allocation.said()[-4000:]
        finally:
            allocation.close()
        said = allocation.said()
    assert "continues from its checkpoint" in said
    assert allocation.requeued() == f"requeue {JOB_ID}\n"
    (board,) = (folder / "runs").glob("*/leaderboard.json")
    assert json.loads(board.read_text())["oof_sha256"] == sha


def _wait(ready: Callable[[], bool], allocation: Allocation, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while not ready():
        assert process.poll() is None, allocation.said()[-4000:]
        assert time.monotonic() < until, allocation.said()[-4000:]
        time.sleep(0.2)
