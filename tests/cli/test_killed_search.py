"""A search whose driver is killed or interrupted goes on where it was, and gives the same trials as an undisturbed
one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cli.conftest import InFolder

from quorate.runs.folder import RunFolder
from quorate.runs.search_record import NAME, SearchRecord

JOB: dict[str, Any] = {
    "name": "small",
    "data": {"kind": "digits", "limit": 700},
    "validation": {"folds": 2},
    "members": {
        "net": {
            "kind": "net",
            "arch": {"kind": "mlp", "hidden": [16]},
            "epochs": 12,
            "batch_size": 2,  # an epoch takes long, and a checkpoint does not
            "search": {
                "trials": 4,
                "parallel": 2,
                "scheduler": "asha",
                "over": "both",
                "portfolio": False,
                "space": {"lr": "log_uniform(1e-4, 0.1)"},
            },
        }
    },
    "execution": {"executor": "ray", "workers": 2, "checkpoint_seconds": 0},
    "tracking": {"enabled": False},
}
COMMAND = [sys.executable, "-m", "quorate", "tune", "job.yaml", "net"]


@pytest.mark.chaos
def test_a_killed_search_loses_at_most_an_epoch_of_each_running_trial_and_repeats_none(
    quorate_in: InFolder, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        (folder / "job.yaml").write_text(yaml.safe_dump(JOB, sort_keys=False))
    code, _, err = quorate_in(whole, "tune", "job.yaml", "net", "--executor", "local")
    assert code == 0, err

    output = killed / "output.txt"
    with output.open("w") as file:
        process = subprocess.Popen(COMMAND, cwd=killed, env=_environment(), stdout=file, stderr=subprocess.STDOUT)
    try:
        _wait(lambda: _in_mid_search(killed) or process.poll() is not None)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, output.read_text()
    (before,) = _runs(killed)
    done = subprocess.run(COMMAND, cwd=killed, env=_environment(), capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    after = next(run for run in _runs(killed) if run != before)
    assert _trials(after) == _trials(_runs(whole)[0]), "the same trials in the same order, with the same results"
    known, logs, undisturbed = _logs(before), _logs(after), _logs(_runs(whole)[0])
    running = [name for name, lines in known.items() if _is_running(lines)]
    assert running
    for name in known:
        lost = set(_epochs(known[name])) & set(_epochs(logs.get(name, [])))
        assert len(lost) <= (1 if name in running else 0), f"{name} trained the epochs {sorted(lost)} again"
    for name, lines in undisturbed.items():
        both = _epochs(known.get(name, [])) + _epochs(logs.get(name, []))
        assert set(both) == set(_epochs(lines)), f"{name} has the epochs of the undisturbed search"


@pytest.mark.chaos
def test_ctrl_c_keeps_the_work_of_a_search(quorate_in: InFolder, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB, sort_keys=False))
    command = ["tune", "job.yaml", "net", "--executor", "local", "--trials", "1"]
    process = subprocess.Popen(
        [*COMMAND[:3], *command], cwd=tmp_path, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        _wait(lambda: process.poll() is not None or any("epoch 2" in text for text in _logs_text(tmp_path)))
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()

    assert process.returncode == 130, output
    assert b"interrupted (SIGINT); finished trials and checkpoints are kept; run the same command" in output
    (before,) = _runs(tmp_path)
    assert _trials(before)[0][3] == "running"
    code, _, err = quorate_in(tmp_path, *command)
    assert code == 0, err
    after = next(run for run in _runs(tmp_path) if run != before)
    assert _trials(after)[0][3] == "complete"
    for name, lines in _logs(before).items():
        assert not set(_epochs(lines)) & set(_epochs(_logs(after).get(name, []))), "no epoch twice"


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def _wait(for_this: Callable[[], object]) -> None:
    until = time.monotonic() + 200  # Ray starts slowly on a busy machine
    while not for_this():
        assert time.monotonic() < until, "the search does not get on"
        time.sleep(0.02)


def _in_mid_search(folder: Path) -> bool:
    """Whether a trial runs that has trained several epochs, and another fit has ended.

    Checkpoints may take 2 % of the time, so on a busy machine there are several short epochs between two of them.
    """
    logs = [lines for run in _runs(folder) for lines in _logs(run).values()]
    running = [_newest(lines) for lines in logs if _is_running(lines)]
    trained = sorted(len(_epochs(lines)) for lines in running)
    unsaved = [len(_epochs(lines[_last(lines, "checkpointed") :])) for lines in running]
    ended = any("fitted" in line for lines in logs for line in lines)
    return ended and bool(trained) and trained[-1] >= 2 and max(unsaved) <= 1


def _runs(folder: Path) -> list[Path]:
    return sorted((folder / "runs").glob("*"))


def _logs(run: Path) -> dict[str, list[str]]:
    """The lines of the log of each fit; a fit of several steps has several attempts."""
    return {path.name: path.read_text().splitlines() for path in (run / "logs").glob("*.log")}


def _logs_text(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.glob("runs/*/logs/*.log")]


def _newest(lines: list[str]) -> list[str]:
    """The lines of the newest attempt."""
    return lines[_last(lines, " attempt ") :]


def _last(lines: list[str], text: str) -> int:
    """The position of the last line with this text; 0 without one."""
    return max((number for number, line in enumerate(lines) if text in line), default=0)


def _is_running(lines: list[str]) -> bool:
    return bool(lines) and "fitted" not in lines[-1]


def _epochs(lines: list[str]) -> list[int]:
    return [int(found[1]) for line in lines if (found := re.search(r" epoch (\d+): ", line))]


def _trials(run: Path) -> list[tuple[Any, ...]]:
    """What does not depend on the time of a search."""
    record = SearchRecord.read(RunFolder(run))
    assert record is not None, f"{run} has {NAME}"
    return [(one.number, one.name, one.source, one.state, one.values, one.loss, one.steps) for one in record.trials]
