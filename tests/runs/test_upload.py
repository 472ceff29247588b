"""The files of a run in a bucket: how they get there, and how they are read."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import GenericError
from tests.object_stores import ObjectServer

from quorate.errors import UserError
from quorate.runs import copy as copies
from quorate.runs import upload as uploading
from quorate.runs.bucket import BucketRuns, remove_sent
from quorate.runs.copy import RunCopy
from quorate.runs.errors import RunError
from quorate.runs.folder import RunFolder
from quorate.runs.lookup import bundle_folder, find_run, runs_kept_at, runs_place
from quorate.runs.upload import DESTINATION, RunUpload, sending
from quorate.store import StoreUnavailable
from quorate.store.bucket import read_bucket_url
from quorate.store.bucket_files import BucketFile, BucketFiles
from quorate.tracking.journal import Journal

RUN = "job-20260101-100000"


@pytest.fixture
def bucket(s3: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BucketFiles:
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "cache"))
    return BucketFiles(read_bucket_url(s3.new_store()))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a job, a log and a journal of one record."""
    folder = tmp_path / RUN
    (folder / "logs").mkdir(parents=True)
    (folder / "job.json").write_text('{"data": {"kind": "digits"}, "members": {}}')
    (folder / "logs" / "svm.fold1.log").write_text("10:00:00 attempt 1\n")
    return folder


def names(bucket: BucketFiles) -> list[str]:
    return [file.name.removeprefix(f"{RUN}/") for file in bucket.files(RUN)]


def copied(bucket: BucketFiles) -> Path:
    copy = RunCopy(bucket, RUN)
    copy.fetch(bucket.files(RUN), None)
    return copy.folder


def test_the_journal_is_sent_in_whole_lines_and_read_again_as_one_file(bucket: BucketFiles, run: Path) -> None:
    # given
    upload = RunUpload(run, bucket)
    with Journal(run / "journal.jsonl") as journal:
        upload.send()
        journal.end("job/svm/0", "FINISHED", 1)
        with (run / "journal.jsonl").open("ab") as file:
            file.write(b'{"half a')
        upload.send()
        first = copied(bucket) / "journal.jsonl"
        assert (run / "journal.jsonl").read_bytes() == first.read_bytes() + b'{"half a'
        with (run / "journal.jsonl").open("ab") as file:
            file.write(b' line": 1}\n')
        upload.send()

    # when: another process sends the rest
    RunUpload(run, bucket).publish()

    # then
    sent = [name for name in names(bucket) if name.startswith("journal/")]
    assert len(sent) == 4 and sent[0] == "journal/000000000000.jsonl"
    assert (copied(bucket) / "journal.jsonl").read_bytes() == (run / "journal.jsonl").read_bytes()


def test_a_segment_whose_answer_was_lost_is_not_sent_twice(bucket: BucketFiles, run: Path) -> None:
    # given: the first segment arrived, and the driver does not know it
    Journal(run / "journal.jsonl").close()
    content = (run / "journal.jsonl").read_bytes()
    upload = RunUpload(run, bucket)
    upload._offset = 0
    first = content.splitlines(keepends=True)[0]
    bucket.put(f"{RUN}/journal/000000000000.jsonl", first)

    upload.send()

    assert (copied(bucket) / "journal.jsonl").read_bytes() == content
    bucket.put(f"{RUN}/journal/000000000000.jsonl", b"of another run\n")
    upload._offset = 0
    with pytest.raises(RunError, match="is not a part of the journal of"):
        upload.send()


def test_the_leaderboard_is_sent_when_everything_else_is_there(
    bucket: BucketFiles, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "leaderboard.json").write_text("{}")
    (run / "oof.npz").write_bytes(b"rows")
    upload, order, put = RunUpload(run, bucket), [], obstore.put

    def noted(store: object, name: str, *arguments: object, **options: object) -> object:
        order.append(name.removeprefix(f"{RUN}/"))
        return put(store, name, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(obstore, "put", noted)
    upload.claim()
    upload.send()
    assert "leaderboard.json" not in order
    upload.publish()

    assert order[-1] == "leaderboard.json"
    assert sorted(names(bucket)) == ["job.json", "leaderboard.json", "logs/svm.fold1.log", "oof.npz"]


def test_a_name_is_taken_once(bucket: BucketFiles, run: Path) -> None:
    first = RunUpload(run, bucket)

    assert first.claim() and first.claim(), "an answer that was lost is no refusal"
    assert not RunUpload(run, bucket).claim()


def test_an_outage_during_a_job_is_reported_once_and_made_up_for(
    bucket: BucketFiles, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr(uploading, "BEAT", 0.02)
    said: list[str] = []

    def refused(*arguments: object, **options: object) -> None:
        raise GenericError("status code: 503 Service Unavailable")

    with sending(RunUpload(run, bucket), said.append):
        # when
        with monkeypatch.context() as patch:
            patch.setattr(obstore, "put", refused)
            wait_for(lambda: bool(said))
            time.sleep(0.1)
        (run / "new.txt").write_text("new")
        wait_for(lambda: "new.txt" in names(bucket))

    # then
    (line,) = said
    assert line.startswith(f"{bucket.address}: the bucket is unavailable: it answers 503 Service Unavailable; the job")
    with monkeypatch.context() as patch, pytest.raises(StoreUnavailable):
        patch.setattr(obstore, "put", refused)
        with sending(RunUpload(run, bucket), said.append):
            raise AssertionError("the job must not begin")


def test_a_file_is_fetched_again_only_if_it_has_changed_here_or_there(
    bucket: BucketFiles, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    (run / "bundle").mkdir()
    (run / "bundle" / "manifest.json").write_text("{}")
    RunUpload(run, bucket).publish()
    fetched, download = [], BucketFiles.download

    def noted(self: BucketFiles, name: str, path: Path) -> BucketFile | None:
        fetched.append(name.removeprefix(f"{RUN}/"))
        return download(self, name, path)

    monkeypatch.setattr(BucketFiles, "download", noted)
    RunCopy(bucket, RUN).fetch(bucket.files(RUN), frozenset({"bundle"}))
    assert fetched == ["bundle/manifest.json"]
    copied(bucket)
    assert sorted(fetched) == ["bundle/manifest.json", "job.json", "logs/svm.fold1.log"]

    # when
    fetched.clear()
    copied(bucket)
    assert fetched == []
    (copied(bucket) / "job.json").write_text("damaged")
    bucket.put(f"{RUN}/bundle/manifest.json", b'{"version": 2}')
    bucket.remove([f"{RUN}/logs/svm.fold1.log"])
    folder = copied(bucket)

    # then
    assert sorted(fetched) == ["bundle/manifest.json", "job.json"]
    assert (folder / "job.json").read_bytes() == (run / "job.json").read_bytes()
    assert not (folder / "logs" / "svm.fold1.log").exists()


def test_what_a_command_writes_into_a_copy_is_sent(bucket: BucketFiles, run: Path) -> None:
    (run / "leaderboard.json").write_text("{}")
    RunUpload(run, bucket).publish()
    found = BucketRuns(bucket).find(RUN)

    (found.path / "report.html").write_text("<html>")
    found.publish()

    assert found.address_of(found.path / "report.html") == f"{bucket.address}/{RUN}/report.html"
    assert bucket.read(f"{RUN}/report.html") == b"<html>"


@pytest.mark.parametrize("limit", ["default", "500"])
def test_copies_that_no_process_uses_make_room_for_others(
    bucket: BucketFiles, run: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    # given: a copy that this process uses, and an older one that nobody uses
    RunUpload(run, bucket).publish()
    used, older = RunCopy(bucket, RUN), RunCopy(bucket, "older")
    used.fetch(bucket.files(RUN), None)
    older.folder.mkdir()
    (older.folder / "file").write_bytes(bytes(1000))
    older._lock_file("use").touch()

    # when
    if limit == "default":
        monkeypatch.setattr("quorate.runs.copy._MOST_BYTES", 500)
    else:
        monkeypatch.setenv("QUORATE_CACHE_SIZE", limit)
    used.use(bucket.files(RUN), None)

    # then
    assert not older.folder.exists()
    assert (used.folder / "job.json").is_file()


def test_a_copy_is_in_use_while_its_files_are_fetched(
    bucket: BucketFiles, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a copy that was used before, and another process that makes room while this one fetches a file
    copies.copies_of(bucket).mkdir(parents=True)
    RunCopy(bucket, RUN)._lock_file("use").touch()
    (run / "leaderboard.json").write_text("{}")
    RunUpload(run, bucket).publish()
    download = BucketFiles.download
    monkeypatch.setattr("quorate.runs.copy._MOST_BYTES", 0)

    def make_room_after(self: BucketFiles, name: str, path: Path) -> BucketFile | None:
        found = download(self, name, path)
        copies._make_room()
        return found

    monkeypatch.setattr(BucketFiles, "download", make_room_after)

    # when, then
    assert [past.name for past in BucketRuns(bucket).past()] == [RUN]
    found = BucketRuns(bucket).find(RUN)
    assert sorted(path.name for path in found.path.iterdir() if path.is_file()) == [
        ".copy.json",
        "job.json",
        "leaderboard.json",
    ]


def test_a_working_folder_whose_records_are_still_being_sent_stays_and_is_named(run: Path) -> None:
    said: list[str] = []
    command = f"quorate sync {run}"
    with (run / "shipper.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_sent(RunFolder(run), said.append)
    assert said == [
        f"{run} is kept, because its records are still being sent to MLflow; to remove it afterwards: {command}"
    ]
    assert run.is_dir()

    remove_sent(RunFolder(run), said.append)

    assert not run.exists() and len(said) == 1


def test_a_name_that_leads_out_of_the_run_is_refused(bucket: BucketFiles) -> None:
    listed = [BucketFile(f"{RUN}/../../evil", 4, "e", 0.0)]

    with pytest.raises(RunError, match="leads out of the run"):
        RunCopy(bucket, RUN).fetch(listed, None)


def test_a_working_folder_knows_where_its_run_belongs(bucket: BucketFiles, run: Path) -> None:
    (run / "leaderboard.json").write_text("{}")
    (run / DESTINATION).write_text(bucket.address)

    found = find_run(str(run))
    found.publish()

    assert found == RunFolder(run)
    assert found.address == f"{bucket.address}/{RUN}"
    assert "leaderboard.json" in names(bucket)


def test_a_running_job_sends_its_run_itself(bucket: BucketFiles, run: Path) -> None:
    with Journal(run / "journal.jsonl"), pytest.raises(RunError, match="is running; its job sends it"):
        RunUpload(run, bucket).publish()


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda address: find_run("other"), "there is no run 'other', neither as a folder nor in {address}"),
        (lambda address: find_run(None), "there is no finished run in {address}"),
        (lambda address: find_run(f"{address}/{RUN}"), "the run job-20260101-100000 has no leaderboard.json"),
        (lambda address: bundle_folder(RUN), "the run job-20260101-100000 has no leaderboard.json"),
        (lambda address: find_run("models:/digits@champion"), "only predict, evaluate and serve accept"),
        (lambda address: find_run("s3://no-such-bucket/run"), "the bucket does not exist"),
        (lambda address: find_run("s3://bucket"), "--run s3://bucket names a bucket; name a run in it"),
        (lambda address: bundle_folder("s3://forbidden/run"), "access is denied"),
    ],
)
def test_what_is_not_in_the_bucket_is_named(
    ask: Callable[[str], object], said: str, bucket: BucketFiles, run: Path
) -> None:
    RunUpload(run, bucket).publish()

    with runs_kept_at(bucket.address), pytest.raises(UserError) as raised:
        ask(bucket.address)

    assert said.format(address=bucket.address) in str(raised.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://key:secret@bucket/x", "--runs s3://…: the URL of runs must not contain credentials"),
        ("ftp://host/x", "--runs: runs are kept in a path, s3://bucket/prefix"),
        ("s3://x", "'x' is not the name of a bucket"),
    ],
)
def test_an_address_that_names_no_place_is_refused(address: str, said: str) -> None:
    with runs_kept_at(address), pytest.raises(UserError) as raised:
        runs_place()

    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_cache_that_cannot_be_made_is_an_error_with_its_fix(
    bucket: BucketFiles, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "leaderboard.json").write_text("{}")
    RunUpload(run, bucket).publish()
    (tmp_path / "file").touch()
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "file"))

    with pytest.raises(UserError, match=r"cannot be used: Not a directory; set QUORATE_CACHE to a writable folder"):
        BucketRuns(bucket).find(RUN)
