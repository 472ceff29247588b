"""Jobs whose store is in a bucket, and jobs that lose their lease."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import GenericError
from tests.jobs import Here
from tests.object_stores import SECRET, ObjectServer

from quorate.job import outages, production
from quorate.job.run import JobFailed
from quorate.plan.tasks import Plan
from quorate.store import StoreUnavailable, leases, open_store
from quorate.store.lease_record import LeaseHolder, LeaseRecord

NET = {"kind": "net", "arch": "mlp", "epochs": 2, "schedule": "one_cycle", "lr": 0.05}
JOB: dict[str, Any] = {
    "name": "small",
    "data": {"kind": "digits", "limit": 300},
    "validation": {"folds": 2},
    "members": {"bayes": {"kind": "naive_bayes"}, "logistic": {"kind": "logistic"}, "mlp": NET},
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


def test_a_job_gives_the_same_bits_on_a_folder_and_on_an_object_store_and_reuses_them(
    tmp_path: Path, s3: ObjectServer
) -> None:
    url = s3.new_store()
    (tmp_path / "there").mkdir()

    folder, bucket = Here(tmp_path).run(JOB), Here(tmp_path / "there", url).run(JOB)
    again = Here(tmp_path / "there", url).run(JOB)

    assert folder["oof_sha256"] == bucket["oof_sha256"] == again["oof_sha256"]
    assert bucket["tasks"]["trained"] == again["tasks"]["reused"] == 6
    assert again["tasks"]["trained"] == 0
    told = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET.encode() not in told


@pytest.mark.system
def test_the_commands_work_on_an_object_store(tmp_path: Path, s3: ObjectServer) -> None:
    here, url = Here(tmp_path), s3.new_store()
    here.write(JOB)

    trained = here.command("train", "job.yaml", "--store", url, "--json")
    again = here.command("train", "job.yaml", "--json", QUORATE_STORE=url)
    shown = here.command("store", "--store", url, "--json")
    collected = here.command("store", "collect", "--store", url, "--json")

    assert json.loads(trained.stdout)["tasks"]["trained"] == json.loads(again.stdout)["tasks"]["reused"] == 6
    assert json.loads(shown.stdout)["spaces"]["fits"]["count"] == 6
    assert json.loads(collected.stdout)["removed"] == {}
    for process in (trained, again, shown, collected):
        assert SECRET not in process.stdout + process.stderr


@pytest.mark.system
def test_a_store_that_is_away_ends_a_command_without_a_traceback(tmp_path: Path, s3: ObjectServer) -> None:
    here, url = Here(tmp_path), s3.new_store()
    here.write(JOB)

    done = here.command("train", "job.yaml", "--store", url, AWS_ENDPOINT_URL="http://u:hunter2@127.0.0.1:1")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: {url}: the store is unavailable: the connection was refused; check the endpoint and that the server "
        "runs; finished work is kept: run the same command again"
    )


def test_a_store_that_goes_away_during_a_job_keeps_what_was_committed(
    tmp_path: Path, s3: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a server that is away from some moment on
    here, put = Here(tmp_path, s3.new_store()), obstore.put
    committed: list[str] = []

    def until_the_third_fit(store: object, name: str, *arguments: object, **options: object) -> object:
        if name.startswith("fits/"):
            committed.append(name)
        if len(committed) >= 3:
            raise GenericError("status code: 500 Internal Server Error")
        return put(store, name, *arguments, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(obstore, "put", until_the_third_fit)
        patch.setattr(outages, "MOST_SECONDS", 0.0)
        with pytest.raises(StoreUnavailable, match="it answers 500 Internal Server Error"):
            here.run(JOB)

    # when: it is there again; the lease of a job that ended does not hold up the next one for long
    board = here.run(JOB)

    assert (board["tasks"]["reused"], board["tasks"]["trained"]) == (2, 4)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("where", ["folder", "s3"])
def test_a_job_that_lost_its_lease_stops_within_ten_seconds_and_says_who_has_it(
    where: str, tmp_path: Path, s3: ObjectServer
) -> None:
    # given: a job that takes hours
    here = Here(tmp_path, s3.new_store() if where == "s3" else None)
    backend = open_store(here.store).backend
    long = {**JOB, "members": {"bayes": {"kind": "naive_bayes"}, "mlp": {**NET, "epochs": 100_000}}}
    other = LeaseRecord(5, LeaseHolder("elsewhere", 7, "1", "m", "t", "2026-01-02 03:04:05 UTC"))
    taken: list[float] = []

    def take() -> None:
        while not (leases := list(backend.names("leases"))):
            time.sleep(0.05)
        time.sleep(1.0)
        (lease,) = leases
        taken.append(time.monotonic())
        backend.write(lease, other.to_bytes())

    # when: another process takes its lease
    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    with pytest.raises(JobFailed) as raised:
        here.run(long)

    # then
    assert time.monotonic() - taken[0] < 10
    thread.join()
    assert "process 7 on elsewhere holds the lease since 2026-01-02 03:04:05 UTC" in str(raised.value)
    assert list(backend.names("checkpoints")) == [], "a state that was taken after the loss is refused"
    (lease,) = backend.names("leases")
    assert LeaseRecord.of(backend.read(lease)) == other


@pytest.mark.chaos
@pytest.mark.timeout(60)
def test_a_job_that_lost_its_lease_before_its_refits_does_not_count_these_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a job that trains its members again on all rows
    here, refit_plan = Here(tmp_path), production.refit_plan
    backend = open_store(here.store).backend
    other = LeaseRecord(5, LeaseHolder("elsewhere", 7, "1", "m", "t"))

    def after_the_loss(*arguments: Any) -> Plan:
        (lease,) = backend.names("leases")
        backend.write(lease, other.to_bytes())
        time.sleep(leases.BEAT + 1)
        return refit_plan(*arguments)

    monkeypatch.setattr(production, "refit_plan", after_the_loss)

    # when, then: another process takes its lease before that
    with pytest.raises(JobFailed, match="process 7 on elsewhere holds the lease"):
        here.run({**JOB, "production": {"refit": True}})


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(180)
def test_a_driver_that_was_frozen_stops_when_another_one_has_taken_its_job(tmp_path: Path, s3: ObjectServer) -> None:
    # given: a driver that stands still in a long job, and a second start of it elsewhere
    long = {**JOB, "members": {"mlp": {**NET, "epochs": 100_000}}}
    url, drivers = s3.new_store(), []
    backend = open_store(url).backend

    def started(name: str) -> subprocess.Popen[str]:
        (tmp_path / name).mkdir()
        here = Here(tmp_path / name)
        here.write(long)
        drivers.append(here.start("train", "job.yaml", "--store", url))
        return drivers[-1]

    def holder() -> LeaseRecord:
        return LeaseRecord.of(next((backend.read(name) for name in backend.names("leases")), None))

    def wait_for(pid: int) -> None:
        deadline = time.monotonic() + 90
        while (found := holder().holder) is None or found.pid != pid:
            assert time.monotonic() < deadline
            time.sleep(0.2)

    try:
        first = started("first")
        wait_for(first.pid)
        first.send_signal(signal.SIGSTOP)
        second = started("second")
        wait_for(second.pid)
        assert holder().number == 2

        # when
        first.send_signal(signal.SIGCONT)
        since = time.monotonic()
        said, errors = first.communicate(timeout=30)

        # then
        assert time.monotonic() - since < 20, "ten seconds to notice, and the end of the process on a busy machine"
        assert first.returncode == 1
        message = " ".join((said + errors).split())
        assert f"the job failed: it runs in another process now: process {second.pid} on " in message
        assert "Traceback" not in message
        assert holder().number == 2, "the second one goes on"
        second.send_signal(signal.SIGTERM)
        second.communicate(timeout=30)
        assert second.returncode == 143
        assert holder() == LeaseRecord(2)
    finally:
        for driver in drivers:
            driver.kill()
            driver.communicate()
