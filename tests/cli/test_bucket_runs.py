"""A job that keeps its run in a bucket, and the commands that read it on a machine that has nothing of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest
from obstore.exceptions import GenericError
from sklearn.datasets import load_digits
from tests.jobs import Here
from tests.object_stores import SECRET, ObjectServer

import quorate
from quorate.runs.lookup import runs_address
from quorate.store.bucket import read_bucket_url
from quorate.store.bucket_files import BucketFiles

Command = Callable[..., tuple[int, str, str]]

NET = {"kind": "net", "arch": "mlp", "epochs": 2, "schedule": "one_cycle", "lr": 0.05}
JOB: dict[str, Any] = {
    "name": "small",
    "data": {"kind": "digits", "limit": 300},
    "validation": {"folds": 2},
    "members": {"logistic": {"kind": "logistic"}, "bayes": {"kind": "naive_bayes"}, "mlp": NET},
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}
GATED = """
import pathlib, time
from sklearn.naive_bayes import GaussianNB

class Gated(GaussianNB):
    def fit(self, x, y, sample_weight=None):
        while x.shape[1] == 64 and len(x) > 100 and not pathlib.Path(__file__).with_name("open").exists():
            time.sleep(0.05)
        return super().fit(x, y, sample_weight)

def gated():
    return Gated()
gated.trusted = (f"{__name__}.Gated",)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def runs(s3: ObjectServer) -> str:
    return f"{s3.new_store()}/runs"


@pytest.mark.system
def test_every_command_reads_a_run_in_a_bucket(
    quorate_in: Command, tmp_path: Path, s3: ObjectServer, runs: str
) -> None:
    # given: a job on one machine
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    Here(there).write(JOB)
    code, said, errors = quorate_in(there, "train", "job.yaml", "--runs", runs, "--store", s3.new_store())
    assert code == 0, errors
    assert list((there / ".quorate" / "runs").iterdir()) == [], "the folder of the run is removed when it is sent"
    assert runs_address() == "runs", "the option ends with its command"
    (run,) = {file.name.partition("/")[0] for file in BucketFiles(read_bucket_url(runs)).files()}
    assert f"quorate serve --run {runs}/{run}" in said
    images = load_digits().images[:50].astype(np.uint8)
    np.savez(here / "rows.npz", images=images, labels=load_digits().target[:50])

    def ask(*arguments: str) -> str:
        code, out, errors = quorate_in(here, *arguments)
        assert code == 0, errors
        return out + errors

    # when, then: each command on another one
    board = json.loads(ask("leaderboard", "--runs", runs, "--json"))
    assert board["run"] == run and board["tasks"]["trained"] == 6
    (listed,) = json.loads(ask("runs", "list", "--runs", runs, "--json"))
    assert (listed["name"], listed["state"], listed["oof_nll"]) == (run, "finished", board["ensemble"]["oof"]["nll"])
    assert run in ask("runs", "--runs", runs)
    assert "the jobs are identical" in ask("runs", "compare", run, f"{runs}/{run}", "--runs", runs)
    scores = ask("predict", "rows.npz", "--run", f"{runs}/{run}", "--json")
    assert len(json.loads(scores)) == 50
    proba = quorate.load(f"{runs}/{run}").predict_proba(images)
    assert [row["class"] for row in json.loads(scores)] == [str(best) for best in proba.argmax(axis=1)]
    assert "accuracy" in ask("evaluate", "rows.npz", "--runs", runs)
    assert f"to {runs}/{run}/report.html" in ask("report", "--runs", runs)
    assert f"--run {runs}/{run}" in ask_for(f"{runs}/{run}/report.html")
    assert "bayes" in ask("diagnose", "--runs", runs)
    assert f"pictures to {runs}/{run}/plots" in ask("curves", "--runs", runs)
    assert f"{runs}/{run}/pruned-2" in ask("prune", "--runs", runs, "--members", "2")
    assert len(json.loads(ask("predict", "rows.npz", "--run", f"{runs}/{run}/pruned-2", "--json"))) == 50
    assert "nothing is sent to MLflow" in ask("sync", "--runs", runs)
    assert not (here / "runs").exists() and not (here / ".quorate").exists()
    assert f"removed {run}" in ask("runs", "remove", run, "--runs", runs, "--yes")
    assert f"no runs in {runs}" in ask("runs", "--runs", runs)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET.encode() not in kept


def ask_for(url: str) -> str:
    address, _, name = url.rpartition("/")
    return (BucketFiles(read_bucket_url(address)).read(name) or b"").decode()


def test_a_bucket_that_refuses_or_is_away_ends_the_command_before_training(
    quorate_in: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: ObjectServer
) -> None:
    Here(tmp_path).write(JOB)

    refused = quorate_in(tmp_path, "train", "job.yaml", "--runs", "s3://forbidden/runs", "--store", "store")
    missing = quorate_in(tmp_path, "leaderboard", "--runs", "s3://no-such-bucket/runs")
    monkeypatch.setattr(obstore, "put", refuse)
    away = quorate_in(tmp_path, "train", "job.yaml", "--runs", "s3://quorate-tests/x", "--store", "store")

    assert refused[0] == missing[0] == 2
    assert "--runs s3://forbidden/runs: access is denied; check AWS_ACCESS_KEY_ID" in refused[2]
    assert "--runs s3://no-such-bucket/runs: the bucket does not exist" in missing[2]
    assert away[0] == 1
    assert "s3://quorate-tests/x: the bucket is unavailable: it answers 503 Service Unavailable" in away[2]
    assert not (tmp_path / "store").exists() and not (tmp_path / ".quorate").exists()


def refuse(*arguments: object, **options: object) -> None:
    raise GenericError("status code: 503 Service Unavailable")


@pytest.mark.system
def test_a_run_that_cannot_be_sent_at_the_end_is_kept_and_can_be_sent_later(
    quorate_in: Command, tmp_path: Path, s3: ObjectServer, runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a bucket that is away when the bundle is sent
    here, put = Here(tmp_path), obstore.put
    here.write({**JOB, "members": {"logistic": {"kind": "logistic"}, "bayes": {"kind": "naive_bayes"}}})

    def until_the_end(store: object, name: str, *arguments: object, **options: object) -> object:
        if "bundle" in name:
            raise GenericError("status code: 500 Internal Server Error")
        return put(store, name, *arguments, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(obstore, "put", until_the_end)
        code, out, errors = quorate_in(tmp_path, "train", "job.yaml", "--runs", runs, "--store", "store")

    # then
    (kept,) = (tmp_path / ".quorate" / "runs").iterdir()
    assert code == 1
    assert "the job is finished, but its run cannot be sent: " in out + errors
    assert (
        f"It is kept in .quorate/runs/{kept.name}; to send it: quorate sync .quorate/runs/{kept.name}" in out + errors
    )
    assert quorate_in(tmp_path, "leaderboard", "--run", f".quorate/runs/{kept.name}")[0] == 0
    assert quorate_in(tmp_path, "leaderboard", "--runs", runs)[0] == 2

    # when
    code, out, errors = quorate_in(tmp_path, "sync", f".quorate/runs/{kept.name}")

    # then
    assert code == 0, errors
    assert f"the run is in {runs}/{kept.name}" in out
    assert not kept.exists()
    assert quorate_in(tmp_path, "leaderboard", "--runs", runs)[0] == 0


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A job waits in its member `gated` until this file exists."""
    yield tmp_path / "open"
    (tmp_path / "open").touch()


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_the_run_of_a_killed_driver_is_interrupted_and_the_next_start_uses_its_work(
    quorate_in: Command, tmp_path: Path, s3: ObjectServer, runs: str, gate: Path
) -> None:
    # given: a driver that is killed when one of two members is finished
    here, store, bucket = Here(tmp_path), s3.new_store(), BucketFiles(read_bucket_url(runs))
    (tmp_path / "gates.py").write_text(GATED)
    here.write({**JOB, "members": {"mlp": {**NET, "epochs": 20}, "gated": {"kind": "gates:gated"}}})
    driver = here.start("train", "job.yaml", "--runs", runs, "--store", store)
    try:
        wait_for(
            lambda: sum(b" fitted in" in (bucket.read(f.name) or b"") for f in bucket.files() if "logs" in f.name) == 2
        )
    finally:
        driver.kill()
        driver.communicate()

    def states() -> list[str]:
        code, out, errors = quorate_in(tmp_path, "runs", "list", "--runs", runs, "--json")
        assert code == 0, errors
        return [run["state"] for run in json.loads(out)]

    # then
    (run,) = {file.name.partition("/")[0] for file in bucket.files()}
    assert states() == ["running"], "its last sign of life is less than a minute old"
    assert quorate_in(tmp_path, "runs", "remove", run, "--runs", runs, "--yes")[0] == 2
    s3.age(f"{runs}/{run}/driver.json", 120)
    assert states() == ["interrupted"]
    gate.touch()
    code, out, errors = quorate_in(tmp_path, "train", "job.yaml", "--runs", runs, "--store", store)
    assert code == 0, errors
    assert "2 trained, 2 reused" in out
    assert f"the run {run} ended unexpectedly while it worked on" in out
    assert states() == ["finished", "interrupted"]


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.timeout(300)
def test_a_second_start_says_where_the_job_runs_and_follows_it_to_its_end(
    tmp_path: Path, s3: ObjectServer, runs: str, gate: Path
) -> None:
    # given: a job that waits in a member
    here, store = Here(tmp_path), s3.new_store()
    (tmp_path / "gates.py").write_text(GATED)
    here.write({**JOB, "members": {"bayes": {"kind": "naive_bayes"}, "gated": {"kind": "gates:gated"}}})
    arguments = ("train", "job.yaml", "--runs", runs, "--store", store)
    drivers = [here.start(*arguments)]
    first = drivers[0]
    try:
        wait_for(lambda: any("job.json" in file.name for file in BucketFiles(read_bucket_url(runs)).files()))

        # when: a second start, and two that follow
        drivers += [here.start(*arguments), *(here.start(*arguments, "--follow") for _ in range(2))]
        _, second, follower, leaver = drivers
        said = said_by(second)

        # then
        assert second.returncode == 1
        assert f"this job runs already with this store: process {first.pid} on {os.uname().nodename} since 20" in said
        assert f"; its run is {runs}/small-" in said and "run the same command with --follow" in said
        read_until(leaver, "following it")
        leaver.send_signal(signal.SIGINT)
        assert "goes on" in said_by(leaver)
        assert leaver.returncode == 130 and first.poll() is None
        gate.touch()
        board, followed = said_by(first), said_by(follower)
        assert first.returncode == follower.returncode == 0, followed
        assert {f"[{done}/4] " in followed for done in (1, 2, 3, 4)} == {True}
        assert "bayes fold 2 fitted" in followed and "gated fold 2 fitted" in followed
        assert "has finished the job" in followed
        assert table_of(board) == table_of(followed)
        bucket = BucketFiles(read_bucket_url(runs))
        assert len({file.name.partition("/")[0] for file in bucket.files()}) == 1, "the others made no run"
    finally:
        for driver in drivers:
            driver.kill()
            driver.communicate()


def said_by(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=150)
    return " ".join((out + errors).split())


def table_of(said: str) -> str:
    return said[said.index("combined by") : said.index("fit tasks: ")]


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    said = ""
    while text not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 150
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
