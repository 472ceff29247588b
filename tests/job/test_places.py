"""One job gives the same bits wherever it runs: in this process, on this machine's Ray, and on clusters of hosts."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.clusters import GATEWAY, Host, alive_nodes, hosts, start_autoscaling_cluster, start_cluster
from tests.jobs import NET, Here
from tests.object_stores import object_server

JOB: dict[str, Any] = {
    "name": "places",
    "data": {"kind": "digits", "limit": 600},
    "validation": {"folds": 3},
    "members": {
        "logistic": {"kind": "logistic"},
        "weak_logistic": {"kind": "logistic", "C": 0.1},
        "svm": {"kind": "svm", "C": 10},
        "neighbours": {"kind": "knn"},
        "forest": {"kind": "random_forest", "trees": 30},
        "cnn": {**NET, "epochs": 4},
        "plain_cnn": {**NET, "epochs": 4, "dropout": 0.0, "schedule": "constant"},
        "mlp": {"kind": "net", "arch": "mlp", "epochs": 5},
    },
    "execution": {"executor": "ray", "checkpoint_seconds": 0, "wait_for_nodes": "5m"},
    "tracking": {"enabled": False},
}
"""Eight members of five kinds."""
SMALL = {**JOB, "members": {name: JOB["members"][name] for name in ("logistic", "cnn")}}
PATIENCE = 400


def in_this_process(job: dict[str, Any], folder: Path) -> str:
    """The digest of the OOF predictions."""
    folder.mkdir()
    local = {**job, "execution": {**job["execution"], "executor": "local"}}
    sha: str = Here(folder).run(local)["oof_sha256"]
    return sha


def on_cluster(
    head: Host,
    job: dict[str, Any],
    folder: Path,
    *,
    store: str = "store",
    env: Mapping[str, str] | None = None,
    meanwhile: Callable[[str], None] = lambda said: None,
) -> dict[str, Any]:
    """The leaderboard of the job, started on the first host; `meanwhile` sees its output twice a second."""
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    words = ["-m", "quorate", "train", "job.yaml", "--store", store, "--address", f"{head.address}:6379"]
    process = head.start(sys.executable, *words, cwd=folder, log="job.log", env=env)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None:
        assert time.monotonic() < deadline, (head.folder / "job.log").read_text()
        meanwhile((head.folder / "job.log").read_text())
        time.sleep(0.5)
    assert process.returncode == 0, (head.folder / "job.log").read_text()
    (board,) = (folder / "runs").glob("*/leaderboard.json")
    read: dict[str, Any] = json.loads(board.read_text())
    return read


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return in_this_process(JOB, tmp_path_factory.mktemp("places") / "local")


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts of two CPUs that share all folders."""
    with hosts(2) as (head, other):
        start_cluster([head, other])
        yield head, other


@pytest.mark.slow
def test_two_hosts_give_the_bits_of_this_process(two: tuple[Host, Host], tmp_path: Path) -> None:
    board = on_cluster(two[0], SMALL, tmp_path)

    assert board["oof_sha256"] == in_this_process(SMALL, tmp_path / "local")


@pytest.mark.slow
def test_a_ray_on_this_machine_gives_the_bits_of_this_process(undisturbed: str, tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.write(JOB)

    done = here.command("train", "job.yaml", "--store", here.store)

    assert done.returncode == 0, done.stderr
    assert here.board()["oof_sha256"] == undisturbed


@pytest.mark.slow
def test_two_hosts_with_a_shared_folder_do(undisturbed: str, two: tuple[Host, Host], tmp_path: Path) -> None:
    assert on_cluster(two[0], JOB, tmp_path)["oof_sha256"] == undisturbed


@pytest.mark.slow
def test_two_hosts_with_an_object_store_and_no_shared_folder_do(undisturbed: str, tmp_path: Path) -> None:
    with hosts(2, hide=tmp_path) as (head, other), object_server(GATEWAY) as s3:
        start_cluster([head, other], env=s3.variables)

        board = on_cluster(head, JOB, tmp_path, store=s3.new_store(), env=s3.variables)

    assert board["oof_sha256"] == undisturbed


@pytest.mark.slow
def test_two_hosts_of_which_one_loses_its_network_midway_do(
    undisturbed: str, two: tuple[Host, Host], tmp_path: Path
) -> None:
    head, other = two
    cut: list[str] = []

    def cut_off_midway(said: str) -> None:
        if "[6/24]" in said and not cut:
            cut.append(said)
            other.cut_off()

    board = on_cluster(head, JOB, tmp_path, meanwhile=cut_off_midway)

    assert cut and board["oof_sha256"] == undisturbed


@pytest.mark.slow
def test_a_cluster_that_grows_from_nothing_does(undisturbed: str, tmp_path: Path) -> None:
    types = {"cpu": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 2}}
    with hosts(1) as (head,):
        start_autoscaling_cluster(head, types)
        assert len(alive_nodes(head)) == 1

        assert on_cluster(head, JOB, tmp_path)["oof_sha256"] == undisturbed
