"""Killed or interrupted jobs resume and end with the bits of an undisturbed run."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import psutil
import pytest
from tests.jobs import NET, SMALL, Here

from quorate.tracking.journal import records
from quorate.tracking.records import EndRecord

SLOW_CNN = {**SMALL, "members": {"cnn": {**NET, "epochs": 60}, "svm": {"kind": "svm"}}}
SLOW_CNN["execution"] = {"executor": "local", "checkpoint_seconds": 0.2}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The out-of-fold hash of an undisturbed run of the job."""
    sha: str = Here(tmp_path_factory.mktemp("undisturbed")).run(SLOW_CNN)["oof_sha256"]
    return sha


@pytest.fixture
def here(tmp_path: Path) -> Here:
    here = Here(tmp_path)
    here.write(SLOW_CNN)
    return here


def epochs_logged(here: Here) -> int:
    return sum(path.read_text().count("epoch ") for path in (here.folder / "runs").glob("*/logs/cnn*.log"))


def wait_for_epochs(here: Here, process: subprocess.Popen[str] | subprocess.Popen[bytes], count: int = 8) -> None:
    until = time.monotonic() + 120
    while epochs_logged(here) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "no epoch in two minutes"
        time.sleep(0.05)


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("executor", "number"),
    [
        pytest.param("ray", signal.SIGINT, marks=pytest.mark.slow),
        ("local", signal.SIGTERM),
        pytest.param("ray", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("local", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_command_ends_in_time_and_resumes(
    here: Here, undisturbed: str, executor: str, number: signal.Signals
) -> None:
    process = here.start("train", "job.yaml", "--executor", executor, "--store", "store")
    wait_for_epochs(here, process)
    begun = time.monotonic()

    os.killpg(process.pid, number) if number is signal.SIGINT else process.send_signal(number)
    output, errors = process.communicate(timeout=60)

    assert process.returncode == 128 + number, output + errors
    assert time.monotonic() - begun < 10
    assert "run the same command to continue" in output
    assert "Traceback" not in output + errors
    again = here.command("train", "job.yaml", "--executor", "local", "--store", "store", "--json")
    assert again.returncode == 0, again.stderr
    assert here.board()["oof_sha256"] == undisturbed
    assert "continues on" in again.stderr


@pytest.mark.slow
@pytest.mark.chaos
def test_a_job_whose_terminal_is_closed_keeps_its_work_and_counts_as_killed(here: Here, undisturbed: str) -> None:
    ours, its = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "quorate", "train", "job.yaml", "--store", "store"],
        cwd=here.folder,
        env=here.environment(),
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(its)
    wait_for_epochs(here, process)

    os.close(ours)

    assert process.wait(timeout=60) != 0
    ends = [one for one in records(here.newest_run() / "journal.jsonl") if isinstance(one, EndRecord)]
    assert [one.status for one in ends if one.uid == "job"] == ["KILLED"]
    again = here.command("train", "job.yaml", "--executor", "local", "--store", "store", "--json")
    assert here.board()["oof_sha256"] == undisturbed
    assert "continues on" in again.stderr


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_second_start_resumes_the_work_of_a_killed_driver(here: Here, undisturbed: str, executor: str) -> None:
    process = here.start("train", "job.yaml", "--executor", executor, "--store", "store")
    wait_for_epochs(here, process, count=20)
    children = psutil.Process(process.pid).children(recursive=True)

    process.kill()
    process.communicate()

    again = here.command("train", "job.yaml", "--executor", executor, "--store", "store", "--json")
    assert again.returncode == 0, again.stderr
    assert "continues on" in again.stderr
    assert here.board()["oof_sha256"] == undisturbed
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE], "the driver's death leaves nobody"


@pytest.mark.chaos
@pytest.mark.slow
def test_a_worker_killed_in_mid_epoch_changes_nothing(here: Here, undisturbed: str) -> None:
    process = here.start("train", "job.yaml", "--executor", "ray", "--store", "store", "--json")
    wait_for_epochs(here, process)
    log = next((here.folder / "runs").glob("*/logs/cnn*.log")).read_text()
    worker = int(log.split(" on ")[1].split(":")[1].split()[0].rstrip(","))

    os.kill(worker, signal.SIGKILL)
    output, errors = process.communicate(timeout=200)

    assert process.returncode == 0, errors
    assert "will be retried" in errors
    assert json.loads(output)["oof_sha256"] == undisturbed, "Ray prints nothing to the output"
    assert here.board()["tasks"]["failed"] == 0


@pytest.mark.chaos
@pytest.mark.slow
def test_a_job_on_two_nodes_survives_the_loss_of_one(here: Here, undisturbed: str, tmp_path: Path) -> None:
    """Two raylets that share nothing but Ray; the process tree of one is killed in mid-epoch."""
    script = tmp_path / "cluster.py"
    script.write_text(
        "import time\n"
        "from ray.cluster_utils import Cluster\n"
        "cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False})\n"
        "second = cluster.add_node(num_cpus=1)\n"
        "raylet = second.all_processes['raylet'][0].process.pid\n"
        "print(cluster.address, raylet, flush=True)\n"
        "time.sleep(600)\n"
    )
    cluster = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=here.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert cluster.stdout is not None
        address, raylet = cluster.stdout.readline().split()
        process = here.start(
            "train", "job.yaml", "--executor", "ray", "--address", address, "--store", "store", "--json"
        )
        wait_for_epochs(here, process, count=20)
        workers = {int(line.split(":")[-1].split()[0].rstrip(",")) for line in _workers(here)}
        tree = [psutil.Process(int(raylet)), *psutil.Process(int(raylet)).children(recursive=True)]
        assert workers & {child.pid for child in tree}, "the job spreads over both nodes"
        assert workers - {child.pid for child in tree}, "the job spreads over both nodes"

        for doomed in tree:
            _kill(doomed)
        _, errors = process.communicate(timeout=280)

        assert process.returncode == 0, errors
        assert here.board()["oof_sha256"] == undisturbed
        assert here.board()["tasks"]["failed"] == 0
    finally:
        children = psutil.Process(cluster.pid).children(recursive=True)
        for doomed in [psutil.Process(cluster.pid), *children]:
            _kill(doomed)
        cluster.wait()


def _workers(here: Here) -> list[str]:
    logs = (here.folder / "runs").glob("*/logs/*.log")
    return [line for path in logs for line in path.read_text().splitlines() if " on " in line]


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
