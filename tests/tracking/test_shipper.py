import fcntl
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from tests.tracking.conftest import Server
from tests.tracking.runs import begin, runs_by_uid, write_bundle

from quorate.errors import without_secrets
from quorate.tracking import shipper
from quorate.tracking import shipper_process as live
from quorate.tracking.journal import Journal

MEMBERS, STEPS = 12, 400


def one_pass(run: Path, uri: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*live.COMMAND, str(run), "--uri", uri], capture_output=True, text=True, timeout=100, check=False
    )


def write_job(run: Path, *, members: int = MEMBERS, steps: int = STEPS) -> None:
    with Journal(run / "journal.jsonl") as notes:
        begin(notes, "job")
        for member in range(members):
            begin(notes, f"job/{member}", "job")
        for step in range(steps):
            for member in range(members):
                notes.metrics(f"job/{member}", step, {"loss": member + 1 / (step + 1)}, timestamp_ms=step)
        for member in range(members):
            notes.end(f"job/{member}", "FINISHED", 2_000)
        notes.end("job", "FINISHED", 3_000)


def assert_job_is_there_once(uri: str, *, members: int = MEMBERS, steps: int = STEPS) -> None:
    runs, client = runs_by_uid(uri), MlflowClient(uri)
    assert set(runs) == {"job", *(f"job/{member}" for member in range(members))}
    for member in range(members):
        run = runs[f"job/{member}"]
        assert run.data.tags["mlflow.parentRunId"] == runs["job"].info.run_id
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "loss")
        values = [(one.step, one.value) for one in sorted(history, key=lambda one: one.step)]
        assert values == [(step, member + 1 / (step + 1)) for step in range(steps)]


def rows(uri: str, table: str) -> int:
    with sqlite3.connect(uri.removeprefix("sqlite:///"), timeout=20) as database:
        return int(database.execute(f"select count(*) from {table}").fetchone()[0])


def wait_until(condition: object, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_a_job_is_followed_live_to_its_end(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    monkeypatch.setenv("MLFLOW_RUN_ID", "0123456789abcdef0123456789abcdef")  # must not matter
    before = time.monotonic()
    following = live.start_shipper(run, uri)
    assert time.monotonic() - before < 1

    notes = Journal(run / "journal.jsonl")
    begin(notes, "job")
    notes.metrics("job", 0, {"loss": 1.0})
    wait_until(lambda: rows(uri, "metrics") == 1)  # while the job is still at work
    assert following._process is not None
    session = Path(f"/proc/{following._process.pid}/autogroup")
    assert os.getpriority(os.PRIO_PROCESS, following._process.pid) == os.nice(0) + 10
    assert not session.exists() or session.read_text().endswith("nice 10\n")
    following._process.terminate()  # as `quorate stop` does on a cluster
    notes.metrics("job", 1, {"loss": 0.5})
    notes.end("job", "FINISHED", 2_000)
    notes.close()

    assert following.wait(30)
    assert following.pending() == 0
    assert following.refused() == []
    job = runs_by_uid(uri)["job"]
    assert job.data.metrics == {"loss": 0.5}
    assert job.info.status == "FINISHED"
    assert "0 left" in (run / "shipper.log").read_text()


@pytest.mark.chaos
def test_a_shipper_that_is_killed_repeatedly_creates_no_duplicates(uri: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_job(run)

    # when: killed while it makes runs, then while it sends values, each time before it has noted all
    for table, enough in (("runs", 3), ("metrics", 1_000)):
        following = live.start_shipper(run, uri)
        wait_until(lambda table=table, enough=enough: rows(uri, table) >= enough)
        assert following._process is not None
        following._process.kill()
        following._process.wait()
        assert following.pending() > 0
    # and when its notes are lost altogether
    (run / "shipped.json").unlink(missing_ok=True)
    done = one_pass(run, uri)

    assert done.returncode == 0, done.stdout + done.stderr
    assert_job_is_there_once(uri)


@pytest.mark.slow
def test_records_that_a_server_missed_are_sent_once_when_it_is_back(server: Server, tmp_path: Path) -> None:
    # given: no server, and a job that is not held up by that
    run = tmp_path / "run"
    uri = server.uri.replace("//", "//ada:secret@")
    before = time.monotonic()
    following = live.start_shipper(run, uri)
    write_job(run, members=2, steps=20)
    with Journal(run / "journal.jsonl") as notes:
        begin(notes, "odd", "job")
        notes.metrics("odd", 0, {"nan": float("nan"), "inf": float("inf")}, timestamp_ms=1)
        (run / "board.csv").write_text("member,nll\n")
        notes.artifact("odd", run / "board.csv", "tables")
        notes.model("odd", bundle=write_bundle(run / "bundle", np.ones(9)), name="digits")
        notes.end("odd", "FINISHED", 2_000)
    assert time.monotonic() - before < 2
    assert not following.wait(0.5)
    assert following.pending() > 40
    assert following._process is not None
    following._process.kill()
    following._process.wait()

    # when: one pass without the server, then two with it
    down = one_pass(run, uri)
    server.start()
    up = one_pass(run, uri)
    again = one_pass(run, uri)

    # then
    assert down.returncode == 1
    assert f"0 records sent to {server.uri}, 54 left" in down.stdout
    assert "secret" not in down.stdout + down.stderr
    assert "secret" not in "".join(file.read_text() for file in run.glob("sh*"))
    assert up.returncode == 0, up.stdout + up.stderr
    assert up.stdout == f"54 records sent to {server.uri}, 0 left\n"
    assert again.stdout == f"0 records sent to {server.uri}, 54 sent before, 0 left\n"
    runs, client = runs_by_uid(server.uri), MlflowClient(server.uri)
    assert set(runs) == {"job", "job/0", "job/1", "odd"}
    assert len(client.get_metric_history(runs["job/1"].info.run_id, "loss")) == 20
    odd = runs["odd"]
    (version,) = client.search_model_versions("name = 'digits'")
    assert version.run_id == odd.info.run_id
    assert client.get_registered_model("digits").aliases == {"champion": str(version.version)}
    assert math.isnan(odd.data.metrics["nan"])
    assert odd.data.metrics["inf"] > 1e308
    assert [file.path for file in client.list_artifacts(odd.info.run_id, "tables")] == ["tables/board.csv"]


@pytest.mark.chaos
def test_the_shipper_of_a_dead_job_sends_the_remaining_records_and_ends(uri: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    program = f"""
import os, signal
from pathlib import Path
from quorate.tracking import shipper_process
from quorate.tracking.journal import Journal
run = Path({str(run)!r})
following = shipper_process.start_shipper(run, {uri!r})
notes = Journal(run / "journal.jsonl")
notes.run("job", name="job", parent=None, tags={{}}, params={{}}, start_ms=1)
notes.metrics("job", 0, {{"loss": 1.0}})
print(following._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

    died = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert died.returncode == -signal.SIGKILL, died.stderr
    wait_until(lambda: not Path(f"/proc/{int(died.stdout)}").exists() or is_zombie(int(died.stdout)))
    job = runs_by_uid(uri)["job"]
    assert job.data.metrics == {"loss": 1.0}
    assert job.info.status == "KILLED"


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_two_shippers_never_send_one_folder(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_job(tmp_path, members=1, steps=1)
    monkeypatch.setattr(shipper, "LOCK_WAIT", 0.2)

    with (tmp_path / "shipper.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code = shipper.main([str(tmp_path), "--uri", uri])

    assert code == 1
    assert capsys.readouterr().out == f"another shipper is sending {tmp_path}\n"
    assert rows(uri, "runs") == 0


def test_a_folder_without_a_journal_is_named(tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    codes = [shipper.main([str(tmp_path), "--uri", uri]), shipper.main([str(tmp_path / "typo"), "--uri", uri])]

    assert codes == [1, 1]
    assert capsys.readouterr().out.splitlines() == [
        f"nothing to send: {tmp_path}/journal.jsonl holds no journal",
        f"nothing to send: there is no folder {tmp_path}/typo",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            '{"kind": "header", "version": 2}',
            "has journal version 2, but this Quorate reads versions up to 1; upgrade Quorate",
        ),
        ('{"kind": "header", "version": 1}', "is damaged: a record of kind 'header' has no field 'run'"),
    ],
)
def test_a_journal_that_cannot_be_read_is_named(
    line: str, said: str, tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "journal.jsonl").write_text(line + "\n")

    code = shipper.main([str(tmp_path), "--uri", uri])

    assert code == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/journal.jsonl {said}")


@pytest.mark.slow
def test_with_an_invalid_uri_no_records_are_lost_and_the_reason_is_shown(uri: str, tmp_path: Path) -> None:
    write_job(tmp_path, members=1, steps=1)

    done = one_pass(tmp_path, f"file://{tmp_path}/mlruns")

    assert done.returncode == 1
    assert done.stdout == f"0 records sent to file://{tmp_path}/mlruns, 7 left\n"
    assert "not sent: MlflowException: The filesystem tracking backend" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_password_in_the_address_is_not_written_down() -> None:
    assert without_secrets("http://ada:secret@mlflow:5000/x") == "http://mlflow:5000/x"
    assert without_secrets("http://mlflow:5000/a@b") == "http://mlflow:5000/a@b"
    assert without_secrets("sqlite:////data/mlflow.db") == "sqlite:////data/mlflow.db"
    assert without_secrets("http://ada:se@cret@mlflow:5000") == "http://mlflow:5000"
    assert without_secrets("postgresql://db/m?sslmode=require&password=se&sslkey=cret") == (
        "postgresql://db/m?sslmode=require&password=…&sslkey=…"
    )


def test_the_default_store_is_absolute_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert live.default_uri() == f"sqlite:///{tmp_path}/mlflow.db"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///deep/own.db")
    assert live.default_uri() == f"sqlite:///{tmp_path}/deep/own.db"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert live.default_uri() == "http://mlflow:5000"


@pytest.mark.slow
def test_a_position_belongs_to_one_journal_and_one_server(uri: str, tmp_path: Path) -> None:
    write_job(tmp_path, members=1, steps=2)
    assert one_pass(tmp_path, uri).returncode == 0

    assert live.Shipper(tmp_path, uri, None).pending() == 0
    assert live.Shipper(tmp_path, "http://127.0.0.1:9", None).pending() == 8
    shipped = json.loads((tmp_path / "shipped.json").read_text())
    assert list(shipped["destinations"]) == [uri]
    (tmp_path / "journal.jsonl").unlink()
    write_job(tmp_path, members=1, steps=5)
    assert live.Shipper(tmp_path, uri, None).pending() == 11
    assert os.access(tmp_path / "shipper.lock", os.R_OK)
