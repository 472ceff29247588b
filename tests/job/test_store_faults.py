"""Jobs whose store is away or whose disk is full: a clear message, and everything that was committed is intact."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import GenericError
from tests.jobs import Here
from tests.object_stores import ObjectServer, object_server

from quorate.bundle import Bundle
from quorate.job import additions, outages
from quorate.plan.portfolio import PortfolioEntry
from quorate.results.results import BlobFile, Results
from quorate.store import StoreUnavailable, open_store
from quorate.store.collection import take_inventory

JOB: dict[str, Any] = {
    "name": "small",
    "data": {"kind": "digits", "limit": 300},
    "validation": {"folds": 2},
    "members": {
        "bayes": {"kind": "naive_bayes"},
        "logistic": {"kind": "logistic"},
        "mlp": {"kind": "net", "arch": "mlp", "epochs": 2, "lr": 0.05},
    },
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


def whole(address: str) -> int:
    """The number of finished fits, all of which have their blobs."""
    store = open_store(address)
    inventory = take_inventory(store)
    assert all(inventory.is_whole(piece) for piece in inventory.pieces)
    for blob in inventory.blobs:
        store.verify(blob)
    return sum(piece.space == "fits" for piece in inventory.pieces)


def test_a_job_waits_for_a_store_that_is_away_for_a_while(
    tmp_path: Path, s3: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a server that refuses ten writes after the first fit
    here, put, refused = Here(tmp_path, s3.new_store()), obstore.put, []
    committed: list[str] = []

    def with_a_gap(store: object, name: str, *arguments: object, **options: object) -> object:
        if committed and len(refused) < 10 and not name.startswith("leases/"):
            refused.append(name)
            raise GenericError("status code: 503 Service Unavailable")
        if name.startswith("fits/"):
            committed.append(name)
        return put(store, name, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(outages, "_PAUSE_SECONDS", 0.05)
    with monkeypatch.context() as patch:
        patch.setattr(obstore, "put", with_a_gap)

        # when
        board = here.run(JOB)

    # then
    assert len(refused) == 10
    assert board["tasks"]["trained"] == whole(here.store) == 6
    assert f"{here.store}: the store is unavailable: it answers 503 Service Unavailable. Training goes on" in here.said
    assert len(re.findall("the store answers again after", here.said)) == 1


def test_a_growing_job_waits_for_its_store_while_it_looks_for_additions_and_packs_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a store that does not answer the first look at an addition, nor the first reads at the end
    entry = PortfolioEntry(name="entry", source="a test", params={"kind": "naive_bayes", "smoothing": 1.0})
    monkeypatch.setattr(additions, "portfolio", lambda signature, rows: (entry,))
    monkeypatch.setattr(outages, "_PAUSE_SECONDS", 0.0)
    here, missed = Here(tmp_path), list[str]()

    def gone_once(owner: type, name: str, *, member: str | None = None) -> None:
        real = getattr(owner, name)

        def method(self: Any, *arguments: Any) -> Any:
            if name not in missed and (member is None or arguments[0].member == member):
                missed.append(name)
                raise StoreUnavailable(None, "the store is unavailable: it does not answer", here.store)
            return real(self, *arguments)

        monkeypatch.setattr(owner, name, method)

    gone_once(Results, "find", member="entry")
    gone_once(BlobFile, "copy")
    gone_once(Results, "size")

    # when
    board = here.run(JOB | {"members": {"bayes": {"kind": "naive_bayes"}}, "grow": True}, "execution.budget=1h")

    # then
    assert missed == ["find", "copy", "size"]
    assert [row["name"] for row in board["growth"]["tried"]] == ["entry"]
    assert here.said.count("the store answers again after") == 3
    assert Bundle.load(here.newest_run() / "bundle").manifest.members


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own, of this size; skips the test where it cannot be mounted."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_full_disk_of_the_store_ends_the_job_and_keeps_what_was_committed(tmp_path: Path, executor: str) -> None:
    # given: a disk with room for the first results, but not for a forest
    disk = tmp_path / "disk"
    with small_disk(disk, "300k"):
        here = Here(tmp_path, str(disk / "store"))
        forest = {"kind": "random_forest", "trees": 200}
        here.write(JOB | {"members": JOB["members"] | {"forest": forest}, "execution": {"executor": executor}})

        # when
        failed = here.command("train", "job.yaml", "--store", here.store)

        # then
        said = " ".join((failed.stdout + failed.stderr).split())
        assert failed.returncode == 1, said
        assert re.search(
            rf"{disk}/store/blobs/\S+ cannot be written: no space is left on the disk: [0-9.]+ [KMi]*B must be "
            r"written, and [0-9.]+ [KMi]*B are free; make room",
            said,
        )
        assert "Traceback" not in said
        finished = whole(here.store)

        # when: there is room
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        done = here.command("train", "job.yaml", "--store", here.store)

        # then
        assert done.returncode == 0, done.stderr
        assert here.board()["tasks"]["reused"] == finished < 8
        assert whole(here.store) == 8


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(400)
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_job_goes_on_when_its_store_did_not_answer_for_two_minutes(tmp_path: Path, executor: str) -> None:
    # given: a job of some seconds, and a server that stands still once the first result is there
    with object_server() as server:
        here = Here(tmp_path, server.new_store())
        long = {"kind": "net", "arch": "mlp", "epochs": 300, "lr": 0.05, "copies": 4}
        here.write(JOB | {"members": JOB["members"] | {"long": long}, "execution": {"executor": executor}})
        store = open_store(here.store)
        job = here.start("train", "job.yaml", "--store", here.store)
        deadline = time.monotonic() + 90
        while not list(store.keys("fits")):
            assert time.monotonic() < deadline and job.poll() is None
            time.sleep(0.1)

        # when
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(120)
        server.process.send_signal(signal.SIGCONT)
        said, errors = job.communicate(timeout=180)

        # then
        text = " ".join((said + errors).split())
        assert job.returncode == 0, text
        assert "the store is unavailable: it does not answer" in text
        assert "Training goes on" in text and "the store answers again after" in text
        assert "Traceback" not in text
        assert here.board()["tasks"]["trained"] == whole(here.store) == 14
