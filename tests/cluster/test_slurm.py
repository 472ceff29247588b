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

    assert {"--signal=B:USR1@180", "--requeue", "--exclusive", "--ntasks-per-node=1", "--open-mode=append"} <= asked


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], subprocess.Popen[str]]:
    """Starts the script; `srun` and `ray symmetric-run` only run their command, and `quorate` is the given text."""
    commands = {
        "srun": 'echo "$@" >> srun.said\nwhile [[ $1 == -* ]]; do shift; done\nexec "$@"',
        "ray": '[[ ! -e ray.fails ]] || exit 0\nwhile [[ $1 != -- ]]; do shift; done\nshift\n"$@"',
        "scontrol": 'echo "$@" >> scontrol.said',
    }

    def start(quorate: str) -> subprocess.Popen[str]:
        for name, text in {**commands, "quorate": quorate}.items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
            (tmp_path / name).chmod(0o755)
        variables = {"SLURM_JOB_ID": str(JOB_ID), "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "16"}
        environment = {**os.environ, **variables, "QUORATE_BIN": str(tmp_path)}
        command = ["bash", str(SCRIPT), "job.yaml"]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)

    return start


def requeued(folder: Path) -> int:
    """How often the job was put back into the queue."""
    path = folder / "scontrol.said"
    return path.read_text().count(f"requeue {JOB_ID}\n") if path.exists() else 0


def test_a_driver_that_fails_is_started_again_three_times(
    start: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    ended = [start(quorate).wait(PATIENCE) for quorate in ("exit 1", "kill -KILL $$", "exit 1", "exit 1")]

    assert ended == [1, 137, 1, 1]
    assert requeued(tmp_path) == 3
    assert list((tmp_path / ".quorate").iterdir()) == []


def test_a_job_that_ends_well_leaves_no_count_of_failures(
    start: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    ended = [start(quorate).wait(PATIENCE) for quorate in ("exit 1", "exit 0")]

    assert ended == [1, 0] and requeued(tmp_path) == 1
    assert list((tmp_path / ".quorate").iterdir()) == []


def test_a_wrong_job_file_is_not_tried_again(start: Callable[[str], subprocess.Popen[str]], tmp_path: Path) -> None:
    assert start("exit 2").wait(PATIENCE) == 2
    assert requeued(tmp_path) == 0


def test_a_head_of_ray_that_does_not_start_is_a_failure(
    start: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    (tmp_path / "ray.fails").touch()  # `ray symmetric-run` ends with 0 then

    assert start("exit 0").wait(PATIENCE) == 1
    assert requeued(tmp_path) == 1


@pytest.mark.parametrize(("number", "times"), [(signal.SIGUSR1, 1), (signal.SIGTERM, 0)])
def test_the_end_of_the_allocation_continues_the_job_and_scancel_ends_it(
    start: Callable[[str], subprocess.Popen[str]], tmp_path: Path, number: signal.Signals, times: int
) -> None:
    script = start("trap 'touch checkpoint; exit 143' TERM; touch running; while :; do sleep .05; done")
    until = time.monotonic() + PATIENCE
    while not (tmp_path / "running").exists():
        assert time.monotonic() < until
        time.sleep(0.02)

    script.send_signal(number)

    assert script.wait(PATIENCE) == 143
    assert (tmp_path / "checkpoint").exists() and requeued(tmp_path) == times


def test_the_nodes_of_ray_get_all_cores_of_the_allocation(
    start: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    start("exit 0").wait(PATIENCE)

    said = (tmp_path / "srun.said").read_text()
    assert "--cpus-per-task=16 ray symmetric-run " in said and " --num-cpus 16 -- " in said


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

            os.kill(signal_pid(first), signal.SIGUSR1)

            assert first.wait(PATIENCE) == 143, allocation.said()[-4000:]
            assert allocation.requeued() == f"requeue {JOB_ID}\n"
            assert not state.exists(), "the token of the allocation is removed"

            second = allocation.start(SCRIPT, "job.yaml", restarts=1)

            assert second.wait(PATIENCE) == 0, allocation.said()[-4000:]
        finally:
            allocation.close()
        said = allocation.said()
    assert re.search(r"continues on \S+ from epoch \d+", said), said[-4000:]
    assert allocation.requeued() == f"requeue {JOB_ID}\n"
    (board,) = (folder / "runs").glob("*/leaderboard.json")
    assert json.loads(board.read_text())["oof_sha256"] == sha


def _wait(ready: Callable[[], bool], allocation: Allocation, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while not ready():
        assert process.poll() is None, allocation.said()[-4000:]
        assert time.monotonic() < until, allocation.said()[-4000:]
        time.sleep(0.2)
