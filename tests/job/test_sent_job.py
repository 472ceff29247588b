"""What is sent with a job, and how it is read where it arrives."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quorate.data.sources.npz import NpzParams
from quorate.execution.ray import sent_environment
from quorate.job import sent_job as sending
from quorate.job.sent_job import SentJob, load_to_send, receive
from quorate.spec import load_job
from quorate.spec.file import SpecError

TEXT = """
name: sent
data:
  kind: npz
  train: {train}
  test: {{fraction: 0.2}}
members:
  logistic: {{kind: logistic, C: 1e-1}}
"""


def write_job(folder: Path, train: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(TEXT.format(train=train))
    return path


def write_rows(path: Path, rows: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, images=np.zeros((rows, 8, 8), np.uint8), labels=np.arange(rows) % 2)


def load(path: Path, *on_cluster: str, store: str | None = None) -> SentJob:
    places = [Path(folder) for folder in on_cluster]
    return load_to_send(lambda lookup: load_job(path, (), lookup), store=store, runs=None, on_cluster=places)


def train_of(params: object) -> object:
    assert isinstance(params, NpzParams)
    return params.train


@pytest.fixture
def sent(tmp_path: Path) -> SentJob:
    write_rows(tmp_path / "mine" / "rows.npz")
    return load(write_job(tmp_path, "mine/rows.npz"), store="s3://bucket/store")


def unpack(sent: SentJob, folder: Path, *, with_package: bool = False) -> Path:
    sent.write(folder / "job.zip", with_package=with_package, env={})
    with zipfile.ZipFile(folder / "job.zip") as packed:
        packed.extractall(folder / "there")
    return folder / "there"


def test_a_job_arrives_with_its_files(sent: SentJob, tmp_path: Path) -> None:
    there = unpack(sent, tmp_path)
    write_rows(tmp_path / "mine" / "rows.npz", rows=2)  # after it was sent

    received = receive(there, tmp_path / "kept")
    shutil.rmtree(there)  # as Ray does some time later

    path = train_of(received.job.spec.data)
    assert isinstance(path, Path) and path.is_relative_to(tmp_path / "kept") and len(np.load(path)["labels"]) == 8
    assert received.store == "s3://bucket/store" and received.runs is None
    here = sent.job.spec.model_dump()
    assert received.job.spec.model_dump() == here | {"data": here["data"] | {"train": path}}
    assert received.job.source.lines == sent.job.source.lines, "for messages about the job file"


def test_the_package_is_sent_unless_the_image_has_it(sent: SentJob, tmp_path: Path) -> None:
    for with_package in (True, False):
        folder = tmp_path / str(with_package)
        folder.mkdir()

        there = unpack(sent, folder, with_package=with_package)

        assert (there / "quorate" / "cli" / "driver.py").is_file() is with_package
        assert not list(there.rglob("*.pyc"))


def test_the_same_job_gives_the_same_archive_and_identity_whenever_it_is_packed(sent: SentJob, tmp_path: Path) -> None:
    sent.write(tmp_path / "first.zip", with_package=False, env={})
    (tmp_path / "mine" / "rows.npz").touch()
    sent.write(tmp_path / "second.zip", with_package=False, env={})

    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()


def test_variables_are_sent_in_a_file_that_only_its_owner_can_read(sent: SentJob, tmp_path: Path) -> None:
    sent.write(tmp_path / "job.zip", with_package=False, env={"KEY": "canary", "OTHER": "ä"})

    with zipfile.ZipFile(tmp_path / "job.zip") as packed:
        entry = packed.getinfo(sent_environment.NAME)
        assert json.loads(packed.read(entry)) == {"KEY": "canary", "OTHER": "ä"}
        assert entry.external_attr >> 16 == 0o600


def test_the_identity_follows_everything_that_the_user_has_chosen(sent: SentJob, tmp_path: Path) -> None:
    code = tmp_path / "my_members.py"
    code.write_text("a = 1")
    identities = {sent.identity(), replace(sent, store=None).identity(), replace(sent, code=(code,)).identity()}
    code.write_text("a = 2")
    identities.add(replace(sent, code=(code,)).identity())
    write_rows(tmp_path / "mine" / "rows.npz", rows=10)
    identities.add(sent.identity())

    assert len(identities) == 5


def test_folders_are_sent_with_all_files_below_them(tmp_path: Path) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    for name in (".gitignore", "a/1.png", "a/2.png"):
        (tmp_path / "photos" / name).write_text("*.png")
    path = tmp_path / "job.yaml"
    path.write_text("data: {kind: image_folder, train: photos, size: 8}\nmembers: {logistic: {kind: logistic}}\n")

    there = unpack(load(path), tmp_path)

    assert {file.name for file in there.rglob("*") if file.is_file()} >= {".gitignore", "1.png", "2.png"}


def test_a_file_that_is_too_large_is_refused_at_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LARGEST", 100)
    write_rows(tmp_path / "rows.npz")

    with pytest.raises(SpecError) as refused:
        load(write_job(tmp_path, "rows.npz"))

    assert "job.yaml:5: data.train: rows.npz is too large: at most 100 B are sent" in str(refused.value)
    assert "name its URL" in str(refused.value) and "--on-cluster FOLDER" in str(refused.value)


def test_a_path_that_is_only_on_the_cluster_must_be_declared(tmp_path: Path) -> None:
    job = write_job(tmp_path, "/shared/big/rows.npz")

    with pytest.raises(SpecError) as refused:
        load(job)
    declared = load(job, "/shared")

    assert "if it is on the cluster, give --on-cluster /shared/big" in str(refused.value)
    assert train_of(declared.job.spec.data) == Path("/shared/big/rows.npz") and not declared.files


def test_a_declared_path_that_the_cluster_lacks_is_an_error_there(tmp_path: Path) -> None:
    there = unpack(load(write_job(tmp_path, "/shared/big/rows.npz"), "/shared"), tmp_path)

    with pytest.raises(SpecError, match=r"job\.yaml:5: data\.train: .*there is no '/shared/big/rows\.npz'"):
        receive(there, tmp_path / "kept")
