"""`quorate train` with a budget, and its output with `--quiet`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.execution import odd_members  # noqa: F401  (registers a kind)
from tests.jobs import NET, SMALL, Here

from quorate.cli import clock, main

QUICK = {**SMALL, "members": {"logistic": {"kind": "logistic"}, "svm": {"kind": "svm"}}}


@pytest.fixture
def here(tmp_path: Path) -> Here:
    here = Here(tmp_path)
    here.write(QUICK)
    return here


@pytest.fixture
def command(here: Here, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """`quorate train job.yaml ...` in this process, its clock beginning now; gives the exit code."""
    monkeypatch.chdir(here.folder)
    monkeypatch.setattr(clock, "process_start", time.monotonic)
    monkeypatch.delenv("COLUMNS", raising=False)  # a pipe is as wide as it needs to be
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["quorate", "train", "job.yaml", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("5 parsecs", ["execution.budget", "'5 parsecs' is not a time", "'30m'"]),
        ("0s", ["execution.budget", "greater than 0"]),
        ("", ["execution.budget", "'' is not a time"]),
        ("300", ["execution.budget", "'300' has no unit", "'300s'"]),
        ("-5s", ["execution.budget"]),
    ],
)
def test_an_invalid_budget_ends_with_code_2(command, capfd, budget, words):
    assert command("--budget", budget) == 2

    errors = capfd.readouterr().err
    assert all(word in errors for word in words), errors
    assert "Traceback" not in errors


def test_the_option_wins_over_the_job_file(command, here, capfd):
    here.write({**QUICK, "execution": {"executor": "local", "budget": "1s"}})

    assert command("--budget", "2h", "--quiet") == 0

    assert here.board()["budget"]["seconds"] == 7200
    assert "budget 2 h, used" in capfd.readouterr().out


def test_quiet_prints_the_leaderboard_and_nothing_else(command, capfd):
    assert command("--quiet") == 0

    captured = capfd.readouterr()
    assert captured.err == ""
    lines = [line.split() for line in captured.out.splitlines() if line.strip()]
    assert "combined by" in captured.out
    assert {line[0] for line in lines[-4:-2]} == {"logistic", "svm"} and lines[-2][0] == "ensemble"
    assert lines[-1][:4] == ["the", "ensemble", "compared", "with"]
    assert "fitted in" not in captured.out and "run folder" not in captured.out


def test_quiet_json_is_json_and_failures_are_errors(command, here, capfd):
    members = {"bad": {"kind": "odd", "what": "raise"}, "logistic": {"kind": "logistic"}}
    here.write({**QUICK, "members": members})

    assert command("--quiet", "--json") == 0

    captured = capfd.readouterr()
    assert json.loads(captured.out)["tasks"]["failed"] == 2
    assert captured.err.count("failed: RuntimeError: this member always raises") == 2
    assert "will be retried" not in captured.err


def test_a_job_that_misses_its_quorum_for_lack_of_time_ends_with_code_1(command, here, capfd):
    here.write({**QUICK, "members": {"slow": {"kind": "odd", "price": 9000}}})

    assert command("--budget", "30s", "--quiet") == 1

    captured = capfd.readouterr()
    assert captured.out == ""
    assert "the job failed: no quorum" in captured.err
    assert "needs about 2 h 30 min" in captured.err.replace("\n", " ")


def test_the_budget_starts_with_the_process():
    began = psutil.Process(os.getpid()).create_time()

    assert time.time() - began == pytest.approx(time.monotonic() - clock.process_start(), abs=1.5)


@pytest.mark.slow
def test_the_real_command_ends_in_time_although_a_fit_cannot_be_interrupted(tmp_path: Path) -> None:
    """An abandoned fit of an SVM neither delays the end of the command nor changes its exit code."""
    members = {"svm": {"kind": "svm", "C": 1e6, "kernel": "linear"}, "cnn": {**NET, "epochs": 5000}}
    here = Here(tmp_path)
    here.write({**SMALL, "data": {"kind": "digits"}, "members": members})
    begun = time.monotonic()

    done = here.command("train", "job.yaml", "--budget", "40s", "--store", "store")

    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - begun < 42
    assert here.board()["budget"]["stopped_early"]
