"""A fault of the process is written to its run and reported at the next start."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from tests.jobs import SMALL, Here

from quorate.runs.crashes import ended_without_a_word

GONE = 2**22 + 1
"""No process of Linux has this number."""

MEMBER = """
import ctypes, pathlib, time
from sklearn.naive_bayes import GaussianNB

class Falling(GaussianNB):
    def fit(self, x, y, sample_weight=None):
        mark = pathlib.Path(__file__).with_name("fallen")
        if x.shape[1] == 64 and not mark.exists():  # the digits themselves, not the trial before training
            mark.touch()
            here = pathlib.Path(__file__).parent
            while not any(log.read_text() for log in here.glob("runs/*/logs/falls.*")):
                time.sleep(.01)  # the driver's thread writes that this attempt started
            ctypes.string_at(1)
        return super().fit(x, y, sample_weight)

def falls():
    return Falling()
falls.trusted = (f"{__name__}.Falling",)
"""


def write_run(runs: Path, name: str, log: str, *, crash: str | None = None, board: bool = False) -> None:
    folder = runs / name
    (folder / "logs").mkdir(parents=True)
    (folder / "job.json").write_text("{}")
    (folder / "logs" / "cnn.fold1.log").write_text(log)
    if crash is not None:
        (folder / "logs" / "crash.log").write_text(crash)
    if board:
        (folder / "leaderboard.json").write_text("{}")


def started(pid: int = GONE, host: str | None = None) -> str:
    return f"10:00:00 attempt 1 on {host or socket.gethostname()}:{pid}\n"


@pytest.mark.parametrize("log", [started(), started() + "10:00:01 epoch 1: train_loss 1\n", started(host="elsewhere")])
def test_an_attempt_that_never_ended_is_named(tmp_path, log):
    write_run(tmp_path, "job-20260101-100000", log)

    said = ended_without_a_word(tmp_path, "job")

    assert said is not None and said.startswith("the run job-20260101-100000 ended unexpectedly while it worked on ")
    assert "cnn.fold1.log: no fault was recorded, so it was killed (SIGKILL, perhaps out of memory)" in said


def test_a_recorded_fault_is_named(tmp_path):
    crash = "Fatal Python error: Segmentation fault\n\nThread 0x1:\n"
    write_run(tmp_path, "job-20260101-100000", started(), crash=crash)

    assert "cnn.fold1.log: Fatal Python error: Segmentation fault (the stacks" in str(
        ended_without_a_word(tmp_path, "job")
    )


@pytest.mark.parametrize(
    "log,board",
    [
        (started(), True),
        (started() + "10:00:01 fitted in 1.00 s\n", False),
        (started() + "10:00:01 stopped\n", False),
        (started() + "10:00:01 attempt 1 failed: it raised\nValueError\nworker's log: \n", False),
        (started(pid=os.getpid()), False),  # it still runs
    ],
    ids=["finished", "fitted", "stopped", "failed", "still at work"],
)
def test_runs_that_ended_normally_or_still_run_are_not_reported(tmp_path, log, board):
    write_run(tmp_path, "job-20260101-100000", log, board=board)

    assert ended_without_a_word(tmp_path, "job") is None


def test_only_the_newest_run_of_the_job_counts(tmp_path):
    write_run(tmp_path, "job-20260101-100000", started())
    write_run(tmp_path, "job-20260101-100001", started() + "10:00:01 stopped\n")
    write_run(tmp_path, "job-two-20260101-100002", started())
    os.utime(tmp_path / "job-20260101-100000" / "job.json", (1, 1))

    assert ended_without_a_word(tmp_path, "job") is None
    assert ended_without_a_word(tmp_path, "none") is None


def test_a_segmentation_fault_in_this_process_is_reported_at_the_next_start(tmp_path):
    here = Here(tmp_path)
    (tmp_path / "falling.py").write_text(MEMBER)
    members = {"falls": {"kind": "falling:falls"}, "forest": {"kind": "random_forest", "trees": 5}}
    here.write({**SMALL, "members": members, "quorum": {"members": 1}})

    first = here.command("train", "job.yaml", "--store", "store")
    (crash,) = tmp_path.glob("runs/*/logs/crash.log")
    fault = crash.read_text()
    (tmp_path / "falling.py").write_text(MEMBER.replace("Falling()", "GaussianNB()"))
    second = here.command("train", "job.yaml", "--store", "store")

    assert first.returncode == -signal.SIGSEGV
    assert fault.startswith("Fatal Python error: Segmentation fault") and "falling.py" in fault
    assert second.returncode == 0, second.stderr
    assert "ended unexpectedly while it worked on" in second.stdout
    assert "Fatal Python error: Segmentation fault (the stacks are in" in second.stdout
    assert len(list(tmp_path.glob("runs/*/logs/crash.log"))) == 1, "the sound run leaves none"
