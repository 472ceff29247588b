"""Jobs submitted to the head of a real cluster that requires a token, of which only the dashboard's port is used."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tests.clusters import GATEWAY, PORT, SUBNET, Host, hosts, start_guarded_head
from tests.jobs import NET, Here
from tests.object_stores import ObjectServer, object_server
from tests.secrets_search import leaks_below

TOKEN = "3f" * 32
PATIENCE = 240
JOB: dict[str, Any] = {
    "name": "sent",
    "data": {"kind": "digits", "limit": 200},
    "validation": {"folds": 2},
    "members": {"logistic": {"kind": "logistic"}, "cnn": {**NET, "epochs": 2}},
    "execution": {"checkpoint_seconds": 0},
    "tracking": {"enabled": False},
}
OWN_JOB: dict[str, Any] = {
    **JOB,
    "name": "own",
    "data": {"kind": "npz", "train": "rows/digits.npz", "test": {"fraction": 0.2}},
    "execution": {"checkpoint_seconds": 0.5},
    "members": {"mine": {"kind": "my_members:neighbours", "near": 3}, "cnn": {**NET, "epochs": 800}},
}
ENDLESS = {**JOB, "name": "endless", "members": {"cnn": {**NET, "epochs": 100_000}}}
PIXELS = (load_digits().images * 15).astype(np.uint8)
OWN_CODE = """
from sklearn.neighbors import KNeighborsClassifier

def neighbours(near: int = 5):
    return KNeighborsClassifier(n_neighbors=near, algorithm="brute")
"""
CANARY = "canary-0x51f7"
NEEDS_CANARY = f"""
import os

assert os.environ.get("SENT") == "{CANARY}"
"""


class Cluster:
    """A head, and commands on this machine that know only the address of its dashboard."""

    def __init__(self, head: Host, dashboard: str, s3: ObjectServer) -> None:
        self.head, self.dashboard, self.s3 = head, dashboard, s3

    def environment(self, **more: str) -> dict[str, str]:
        known = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_API_SERVER_ADDRESS": self.dashboard}
        return {**known, **more}

    def command(self, here: Here, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return here.command(*words, **self.environment(**more))

    def facts(self, here: Here, name: str) -> dict[str, Any]:
        done = self.command(here, "status", name, "--json")
        assert done.returncode == 0, done.stderr + self.command(here, "logs", name).stdout
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def wait_for_epoch(self, job: str, epoch: int, *, run: int = 1) -> None:
        """Wait until a run of a job (from 1) has trained this many epochs, as its logs on the head say."""
        deadline = time.monotonic() + PATIENCE
        while True:
            runs = sorted((self.head.folder / "quorate/runs").glob(f"{job}-*"))
            logs = [log.read_text() for found in runs[run - 1 : run] for log in found.glob("logs/cnn.*.log")]
            if any(f" epoch {epoch}:" in log for log in logs):
                return
            said = [log.read_text() for log in self.head.folder.glob("ray/session_latest/logs/job-driver-*.log")]
            assert time.monotonic() < deadline, (logs, said)
            time.sleep(0.1)

    def wait_for_end(self, here: Here, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while (facts := self.facts(here, name))["state"] == "running":
            assert time.monotonic() < deadline, facts
        return facts

    def driver(self, name: str) -> int:
        """The number of the driver's process."""
        for pid in self.head.pids():
            if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(f"quorate\0driver\0{name}\0".encode()):
                return pid
        raise AssertionError(f"{name} has no driver")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with hosts(1) as (head,), object_server(GATEWAY) as s3:
        yield Cluster(head, start_guarded_head(head, TOKEN, env=s3.variables), s3)


def in_this_process(here: Here, job: dict[str, Any]) -> str:
    """The digest of the OOF predictions of the job, trained in this process."""
    sha: str = here.run({**job, "execution": {**job["execution"], "executor": "local"}})["oof_sha256"]
    here.write(job)
    return sha


def id_in(said: str) -> str:
    (name,) = [line.split()[2].rstrip(";") for line in said.splitlines() if line.startswith("submitted as ")]
    return name


@pytest.mark.system
def test_a_submitted_job_is_followed_to_its_end_and_its_bundle_predicts_here(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENT", CANARY)
    here = Here(tmp_path)
    job = {**JOB, "members": {**JOB["members"], "mine": {"kind": "canary_members:neighbours"}}}
    here.write(job)
    (tmp_path / "canary_members.py").write_text(NEEDS_CANARY + OWN_CODE)

    done = cluster.command(here, "submit", "job.yaml", "--env", "SENT")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "[6/6]" in done.stdout and "calibrated_greedy" in done.stdout, "the lines of the driver"
    fetched = cluster.command(here, "fetch", id_in(done.stdout), "--json")
    assert fetched.returncode == 0, fetched.stderr
    run = tmp_path / json.loads(fetched.stdout)["run"]
    board = json.loads((run / "leaderboard.json").read_text())
    assert (run / "report.html").is_file()
    assert TOKEN not in done.stdout + done.stderr + fetched.stdout + fetched.stderr
    (logs,) = {path.resolve() for path in (cluster.head.folder / "ray").glob("session_*/logs")}
    assert any("runtime_env_agent" in path.name for path in logs.iterdir())
    assert [*leaks_below(logs, {"SENT": CANARY}), *leaks_below(run, {"SENT": CANARY})] == []
    assert board["oof_sha256"] == in_this_process(here, job)
    np.savez(tmp_path / "new.npz", images=PIXELS[:20])
    predicted = here.command("predict", "new.npz", "--run", str(run), "-o", "new.csv")
    assert predicted.returncode == 0, predicted.stderr
    assert len((tmp_path / "new.csv").read_text().splitlines()) == 21


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_that_loses_its_driver_goes_on_when_it_is_submitted_again(cluster: Cluster, tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.write(OWN_JOB)
    (tmp_path / "my_members.py").write_text(OWN_CODE)
    (tmp_path / "rows").mkdir()
    np.savez(tmp_path / "rows/digits.npz", images=PIXELS[:300], labels=load_digits().target[:300])

    following = here.start("submit", "job.yaml", **cluster.environment())
    assert following.stdout is not None
    name = id_in(following.stdout.readline())
    second = cluster.command(here, "submit", "job.yaml", "--detach")
    assert f"this job runs already: {name}" in second.stdout and second.returncode == 0
    cluster.wait_for_epoch("own", 5)
    facts = cluster.facts(here, name)
    assert facts["state"] == "running" and "of 4 fit tasks done; cnn" in facts["progress"]
    watched = cluster.command(here, "top", name, "--address", cluster.dashboard, "--json")
    figures = json.loads(watched.stdout)
    assert figures["total"] == 4 and figures["running"], figures
    following.send_signal(signal.SIGINT)
    said, _ = following.communicate(timeout=20)
    os.kill(cluster.driver(name), signal.SIGKILL)
    assert following.returncode == 130 and f"detached; {name} goes on" in said

    assert "was killed (SIGKILL)" in cluster.wait_for_end(here, name)["message"]
    again = cluster.command(here, "submit", "job.yaml", "--wait", "--json")

    assert again.returncode == 0, again.stdout + again.stderr
    result = json.loads(again.stdout)
    assert result["id"] == f"{name}-2" and f"it continues the work of {name}" in again.stderr
    assert result["leaderboard"]["oof_sha256"] == in_this_process(here, OWN_JOB)
    log = cluster.command(here, "logs", f"{name}-2")
    assert re.search(r"cnn fold \d continues on \S+ from epoch \d+", log.stdout), log.stdout
    member = cluster.command(here, "logs", f"{name}-2", "--member", "cnn", "--fold", "2")
    assert "from a checkpoint" in member.stdout and "epoch 800" in member.stdout
    third = cluster.command(here, "submit", "job.yaml")
    assert third.returncode == 0 and f"this job is finished already: {name}-2" in third.stdout
    assert "ensemble" in third.stdout, "its leaderboard"
    listed = cluster.command(here, "status", "--json")
    states = {job["id"]: job["state"] for job in json.loads(listed.stdout)}
    assert states[name] == "failed" and states[f"{name}-2"] == "finished"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_that_is_stopped_keeps_its_checkpoints(cluster: Cluster, tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.write(ENDLESS)
    name = id_in(cluster.command(here, "submit", "job.yaml", "--detach").stdout)
    cluster.wait_for_epoch("endless", 5)

    since = time.monotonic()
    stopped = cluster.command(here, "stop", name)
    seconds = time.monotonic() - since

    assert stopped.returncode == 0 and f"stopped {name}; finished tasks and checkpoints are kept" in stopped.stdout
    assert seconds < 30, "the driver ends by itself, before SIGKILL"
    assert "interrupted (SIGTERM)" in cluster.command(here, "logs", name).stdout
    assert cluster.facts(here, name)["state"] == "stopped"
    log = cluster.command(here, "logs", name, "--member", "cnn", "--fold", "1").stdout
    reached = max(int(line.split()[2].rstrip(":")) for line in log.splitlines() if " epoch " in line)
    waiting = cluster.command(here, "submit", "job.yaml", "--detach")
    assert f"it continues the work of {name}" in waiting.stdout
    cluster.wait_for_epoch("endless", reached + 5, run=2)
    said = cluster.command(here, "logs", f"{name}-2").stdout
    assert f"cnn fold 1 continues on {cluster.head.address}:" in said, said
    assert cluster.command(here, "stop", f"{name}-2").returncode == 0


@pytest.mark.system
def test_a_refused_token_is_distinguished_from_an_absent_cluster_within_five_seconds(
    cluster: Cluster, tmp_path: Path
) -> None:
    here = Here(tmp_path)
    here.write(JOB)
    head, absent = f"{cluster.head.address}:{PORT}", f"{SUBNET}.77"
    wrong, none = {"RAY_AUTH_TOKEN": "wrong" * 8}, {"RAY_AUTH_MODE": "disabled"}
    submit = ("submit", "job.yaml")
    cases = [
        (submit, wrong, "refuses the token of this machine (RAY_AUTH_TOKEN)"),
        (submit, none, "requires a token, and RAY_AUTH_MODE=disabled sends none"),
        ((*submit, "--address", f"http://{absent}:8265"), {}, f"no Ray dashboard answers at http://{absent}:8265"),
        ((*submit, "--address", f"http://{head}"), {}, "what listens there does not speak HTTP"),
        (("train", "job.yaml", "--address", head), wrong, "refuses the token of this machine (RAY_AUTH_TOKEN)"),
        (("train", "job.yaml", "--address", head), none, "requires a token, and RAY_AUTH_MODE=disabled sends none"),
        (("overfit", "job.yaml", "cnn", "--address", head), wrong, "refuses the token of this machine"),
        (("train", "job.yaml", "--address", f"{absent}:{PORT}"), {}, f"no Ray cluster answers at {absent}:{PORT}"),
        (("train", "job.yaml", "--address", f"{cluster.head.address}:8265"), {}, "8265 is the port of the dashboard"),
    ]
    for words, variables, message in cases:
        since = time.monotonic()
        done = cluster.command(here, *words, **variables)
        seconds = time.monotonic() - since

        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert "wrong" not in done.stderr and TOKEN not in done.stderr
        print(f"{' '.join(words)}: {message}: {seconds:.1f} s")
        assert seconds < 5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_that_the_cluster_refuses_says_why_also_where_its_output_was_not_followed(
    cluster: Cluster, tmp_path: Path
) -> None:
    here = Here(tmp_path)
    here.write({**OWN_JOB, "name": "refused", "data": {"kind": "npz", "train": "/gone/digits.npz"}})
    (tmp_path / "my_members.py").write_text(OWN_CODE)

    done = cluster.command(here, "submit", "job.yaml", "--on-cluster", "/gone", "--wait", "--json")

    assert done.returncode == 2, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert "/gone/digits.npz" in result["error"]
    facts = cluster.facts(here, result["id"])
    assert facts["error"] == result["error"] and f"`quorate logs {result['id']}`" in facts["message"]
    watched = cluster.command(here, "top", result["id"], "--address", cluster.dashboard, "--once")
    assert watched.returncode == 2 and f"{result['id']} has no run" in watched.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_bundle_of_100_mb_is_fetched_through_the_dashboard(cluster: Cluster, tmp_path: Path) -> None:
    here = Here(tmp_path)
    big = {
        **JOB,
        "name": "big",
        "members": {"net": {"kind": "net", "arch": {"kind": "mlp", "hidden": [5000, 2500]}, "epochs": 1}},
    }
    here.write(big)
    done = cluster.command(here, "submit", "job.yaml", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr

    since = time.monotonic()
    fetched = cluster.command(here, "fetch", id_in(done.stdout))
    seconds = time.monotonic() - since

    assert fetched.returncode == 0, fetched.stderr
    print(fetched.stdout, f"{seconds:.1f} s")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_in_a_bucket_is_fetched_from_the_bucket(cluster: Cluster, tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.write({**JOB, "name": "bucket"})
    store, runs = cluster.s3.new_store(), f"{cluster.s3.new_store()}/runs"

    done = cluster.command(here, "submit", "job.yaml", "--wait", "--json", QUORATE_STORE=store, QUORATE_RUNS=runs)

    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    fetched = cluster.command(here, "fetch", result["id"], "--json")
    assert result["run"].startswith(f"{runs}/bucket-"), "the buckets that this machine uses"
    assert not list((cluster.head.folder / "quorate/runs").glob("bucket-*")), "nothing is left on the head"
    run = tmp_path / json.loads(fetched.stdout)["run"]
    assert json.loads((run / "leaderboard.json").read_text()) == result["leaderboard"]
    assert (run / "bundle/manifest.json").is_file() and (run / "report.html").is_file()
