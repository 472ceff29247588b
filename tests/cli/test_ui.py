"""`quorate ui` ends all processes that it started, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import subprocess, sys, time
from pathlib import Path
child = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"]
stubborn = subprocess.Popen(child)
Path(sys.argv[1]).write_text(str(stubborn.pid))
time.sleep(float(sys.argv[2]))
sys.exit(7)
"""
"""A server with a worker that ignores SIGTERM and outlives its parent."""

RUN = """
import sys
from quorate.cli import ui
ui.GRACE_SECONDS = 1.0
sys.exit(ui.run_group([sys.executable, "-c", *sys.argv[1:]]))
"""


def begun(folder: Path, seconds: float) -> tuple[subprocess.Popen[bytes], int]:
    """The command, and the number of the worker that it started."""
    place = folder / "worker"
    process = subprocess.Popen([sys.executable, "-c", RUN, PARENT, str(place), str(seconds)])
    deadline = time.monotonic() + 60
    while not (place.exists() and place.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return process, int(place.read_text())


def is_running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(number: int) -> bool:
    deadline = time.monotonic() + 10
    while is_running(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(number)


@pytest.mark.chaos
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_processes_that_were_started(tmp_path: Path, signum: signal.Signals) -> None:
    process, worker = begun(tmp_path, 300)

    os.kill(process.pid, signum)

    assert process.wait(timeout=30) == 128 + signum
    assert ends(worker)


@pytest.mark.chaos
def test_a_server_that_ends_by_itself_gives_its_code_and_leaves_no_worker(tmp_path: Path) -> None:
    process, worker = begun(tmp_path, 0.2)

    assert process.wait(timeout=30) == 7
    assert ends(worker)


@pytest.mark.chaos
def test_under_nohup_the_server_continues_after_the_terminal_is_closed(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which processes inherit
    try:
        process, worker = begun(tmp_path, 300)
    finally:
        signal.signal(signal.SIGHUP, before)

    os.kill(process.pid, signal.SIGHUP)

    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=3)
    assert is_running(worker)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert ends(worker)
