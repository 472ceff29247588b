"""Secrets of the environment and of URIs appear in no output and in no file of a job."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.jobs import NET, SMALL, Here
from tests.object_stores import ObjectServer
from tests.secrets_search import USER, leaks_below, leaks_in
from tests.tracking.conftest import Server

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "canary-aws-0x51f7",
    "MLFLOW_TRACKING_PASSWORD": "canary-password-0x51f8",
    "RAY_AUTH_TOKEN": "canary-token-0x51f9" + "f" * 45,
    "MLFLOW_TRACKING_URI": "canary-uri-0x51fa",
    "the store's user": "canary-user-0x51fb",
    "the store's query": "canary-query-0x51fc",
    "AWS_ENDPOINT_URL": "canary-endpoint-0x51fd",
}
DOWN = "127.0.0.1:9"
"""An address at which nothing listens."""
JOB: dict[str, Any] = {
    **SMALL,
    "members": {"svm": {"kind": "svm"}, "cnn": {**NET, "epochs": 2}},
    "quorum": {"members": 1},
    "tracking": {"enabled": True},
}
COMMANDS = (
    ("report",),
    ("runs", "--json"),
    ("leaderboard", "--json"),
    ("top", "--once", "--json"),
    ("store", "--json"),
)
BROKEN = """
from sklearn.neighbors import KNeighborsClassifier

def neighbours():
    return KNeighborsClassifier(100_000, algorithm="brute")
"""
"""A kind whose fits fail, because there are not that many rows."""


@dataclass
class Place:
    """Jobs whose environment is full of secrets, and all that their commands print."""

    here: Here
    variables: dict[str, str]
    temporary: Path
    said: list[str] = field(default_factory=list)

    def quorate(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        done = self.here.command(*words, **{**self.variables, **more})
        found = leaks_in((done.stdout + done.stderr).encode(), SECRETS)
        assert not found, f"quorate {' '.join(words)} prints {found}:\n{done.stdout}{done.stderr}"
        return done


@pytest.fixture
def place(s3: ObjectServer, tmp_path: Path) -> Iterator[Place]:
    temporary = Path(tempfile.mkdtemp(prefix="qs"))  # short, because the paths of Ray's sockets are in it
    here = Here(tmp_path / "here", s3.new_store())
    here.folder.mkdir()
    variables = {
        **s3.variables,
        **{name: SECRETS[name] for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "RAY_AUTH_TOKEN")},
        "MLFLOW_TRACKING_USERNAME": USER,
        "RAY_AUTH_MODE": "token",
        "RAY_TMPDIR": str(temporary),
        "RAY_worker_niceness": "0",
        "QUORATE_STORE": here.store,
        "MLFLOW_TRACKING_URI": f"http://{USER}:{SECRETS['MLFLOW_TRACKING_URI']}@{DOWN}",
    }
    yield Place(here, variables, temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def uri_of(server: Server) -> str:
    return server.uri.replace("//", f"//{USER}:{SECRETS['MLFLOW_TRACKING_URI']}@")


def objects_below(s3: ObjectServer, store: str, folder: Path) -> Path:
    """Every object of a store as a file in this folder."""
    from quorate.store.bucket import open_bucket, read_bucket_url

    client = open_bucket(read_bucket_url(store), read_timeout=10, retry=10)
    for batch in client.list():
        for found in batch:
            path = folder / found["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(client.get(found["path"]).bytes()))
    return folder


def assert_no_secret_in_files(place: Place, s3: ObjectServer, folder: Path) -> None:
    """Search the run folder, the journal, the logs, the report, the bundle, the store, and all that is in `folder`."""
    (run,) = (place.here.folder / "runs").iterdir()
    searched = {path.name for path in run.rglob("*")}
    assert {"journal.jsonl", "shipper.log", "report.html", "bundle", "leaderboard.json"} <= searched
    assert any(objects_below(s3, place.here.store, folder / "objects").rglob("*"))
    assert [*leaks_below(folder, SECRETS), *leaks_below(place.temporary, SECRETS)] == []


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.timeout(300)
def test_no_secret_is_in_the_files_and_outputs_of_a_job_on_ray_with_a_member_that_fails(
    place: Place, s3: ObjectServer, tmp_path: Path
) -> None:
    # given: a Ray with a token, a store in a bucket, a server of MLflow that does not answer, and a member that fails
    (place.here.folder / "broken.py").write_text(BROKEN)
    members = {**JOB["members"], "bad": {"kind": "broken:neighbours"}}
    place.here.write({**JOB, "members": members, "execution": {"workers": 1, "retries": 0}})

    # when
    done = place.quorate("train", "job.yaml", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "n_neighbors" in done.stderr, "the member fails"
    for words in COMMANDS:
        shown = place.quorate(*words)
        assert shown.returncode == 0, (words, shown.stdout + shown.stderr)
    sent = place.quorate("sync", MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db")

    # then
    assert sent.returncode == 0 and "0 left" in sent.stdout, sent.stdout + sent.stderr
    assert any(place.temporary.rglob("worker-*")), "the logs of Ray are searched"
    assert_no_secret_in_files(place, s3, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_secret_reaches_a_server_of_mlflow_or_its_log(place: Place, s3: ObjectServer, tmp_path: Path) -> None:
    place.here.write(JOB)
    server = Server(tmp_path, tmp_path / "server.db")
    server.start()
    try:
        done = place.quorate("train", "job.yaml", MLFLOW_TRACKING_URI=uri_of(server))
        while (sent := place.quorate("sync", MLFLOW_TRACKING_URI=uri_of(server))).stdout.startswith("another shipper"):
            time.sleep(0.5)
        shown = place.quorate("predict", "job.yaml", "--run", "models:/nothing@champion")
    finally:
        server.stop()

    assert done.returncode == 0, done.stdout + done.stderr
    assert sent.returncode == 0 and "0 left" in sent.stdout, sent.stdout + sent.stderr
    assert shown.returncode == 2
    assert any((tmp_path / "artifacts").rglob("*.csv")), "the artifacts of the server are searched"
    assert_no_secret_in_files(place, s3, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_secret_is_in_what_a_job_says_about_a_store_that_it_cannot_reach(place: Place, tmp_path: Path) -> None:
    place.here.write(JOB)
    endpoint = f"http://{USER}:{SECRETS['AWS_ENDPOINT_URL']}@{DOWN}"

    done = place.quorate("train", "job.yaml", "--json", AWS_ENDPOINT_URL=endpoint)

    assert done.returncode in (1, 2) and "error: " in done.stdout + done.stderr
    assert [*leaks_below(tmp_path, SECRETS)] == []
