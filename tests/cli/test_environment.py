"""Errors of the machine, such as full disks, closed streams and forbidden folders, end a command with a fix and no
traceback."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.bundle.manifests import a_manifest
from tests.cli.conftest import InFolder

from quorate.bundle import hashes_of, write_bundle
from quorate.cli.environment import OUTPUT, explain_os_error
from quorate.store.backend import LocalBackend, StoreUnavailable

COMMAND = [sys.executable, "-m", "quorate"]


def started(folder: Path, shell: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `$Q` is the command."""
    given = {**os.environ, "Q": " ".join(COMMAND), **environment}
    return subprocess.run(["bash", "-c", shell], cwd=folder, env=given, capture_output=True, text=True, timeout=200)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOSPC, 1, ("no space is left", "quorate store collect", "finished work is kept")),
        (errno.EDQUOT, 1, ("quota is used up", "make room")),
        (errno.EACCES, 2, ("permission denied", "QUORATE_RUNS")),
        (errno.EROFS, 2, ("read-only", "choose another folder")),
        (errno.EMFILE, 1, ("too many open files", "ulimit -n")),
        (errno.ENOMEM, 1, ("out of memory", "execution.workers")),
        (errno.EAGAIN, 1, ("limit of processes", "ulimit -u")),
        (errno.EIO, 1, ("input/output error",)),
    ],
)
def test_an_error_of_the_machine_names_place_and_fix(number: int, code: int, words: tuple[str, ...]) -> None:
    said = explain_os_error(OSError(number, os.strerror(number), "/data/runs/a.npz"))

    assert said is not None
    assert said[1] == code
    assert said[0].startswith("/data/runs/a.npz")
    assert all(word in said[0] for word in words)


def test_a_store_that_is_away_is_named_with_what_is_kept() -> None:
    said = explain_os_error(StoreUnavailable(None, "the store is unavailable: it does not answer", "s3://bucket/x"))

    text = (
        "s3://bucket/x: the store is unavailable: it does not answer; finished work is kept: run the same command again"
    )
    assert said == (text, 1)
    stale = explain_os_error(StoreUnavailable(errno.ESTALE, "Stale file handle", "/net/store"))
    assert stale == ("/net/store: Stale file handle; finished work is kept: run the same command again", 1)
    full_disk = explain_os_error(StoreUnavailable(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/store/a"))
    assert full_disk is not None and full_disk[1] == 1 and "quorate store collect" in full_disk[0]


def test_an_internal_error_is_not_reported_as_an_error_of_the_machine() -> None:
    assert explain_os_error(FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/runs/a.npz")) is None


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, quorate_in: InFolder) -> None:
    (tmp_path / "runs").write_text("no folder")
    (tmp_path / "job.yaml").write_text(
        "{name: a, data: {kind: digits, limit: 60}, members: {b: naive_bayes}, execution: {executor: local}, "
        "validation: {folds: 2}, tracking: {enabled: false}}"
    )

    code, _, errors = quorate_in(tmp_path, "train", "job.yaml")

    assert code == 2
    assert "is a file where a folder is needed" in errors and "Traceback" not in errors


def test_a_full_disk_leaves_nothing_half_written_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = LocalBackend(tmp_path)
    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError) as raised:
        backend.write("blobs/ab/abc", b"content")

    assert raised.value.filename == str(tmp_path / "blobs/ab/abc")
    size = r"[0-9.]+ [KMGT]iB"
    assert re.search(
        f"abc cannot be written: no space is left on the disk: 7 B must be written, and {size} are free; make room",
        (explain_os_error(raised.value) or ("", 0))[0],
    )
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_full_disk_leaves_no_part_of_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda path, content: full() if path.name == "b" else write(path, content))

    files = {"a": b"1", "b": b"2"}

    with pytest.raises(OSError) as raised:
        write_bundle(tmp_path / "bundle", a_manifest(files=hashes_of(files)), files)

    assert str(raised.value.filename).endswith("bundle.partial/b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [
        "--version",
        "train --help",
        pytest.param("list", marks=pytest.mark.system),
        pytest.param("list --json", marks=[pytest.mark.system, pytest.mark.slow]),
    ],
)
def test_an_output_that_is_full_is_named(tmp_path: Path, arguments: str) -> None:
    done = started(tmp_path, f"$Q {arguments} > /dev/full")

    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {OUTPUT} cannot be written: no space is left")
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.system
@pytest.mark.parametrize(
    "arguments", ["list", *(pytest.param(one, marks=pytest.mark.slow) for one in ("list --json", "schema"))]
)
def test_a_closed_pipe_ends_the_command_silently(tmp_path: Path, arguments: str) -> None:
    done = started(tmp_path, f"$Q {arguments} | true; echo ${{PIPESTATUS[0]}}")

    assert done.stdout.strip() == str(128 + signal.SIGPIPE)
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.system
def test_a_closed_standard_output_is_not_reused_by_another_file(tmp_path: Path) -> None:
    done = started(tmp_path, "$Q schema -o a.json >&- 2>&- <&-; echo $?")

    assert done.stdout.strip() == "0"
    assert (tmp_path / "a.json").read_text().lstrip().startswith("{"), "the file holds the schema and nothing printed"
    assert (tmp_path / "a.json").read_text().rstrip().endswith("}")


@pytest.mark.system
def test_characters_that_a_terminal_lacks_are_replaced(tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}

    done = started(tmp_path, "$Q list schedules && $Q list members", **ascii_only)

    assert done.returncode == 0, done.stderr
    assert "svm" in done.stdout and done.stdout.isascii()


@pytest.mark.system
def test_a_file_name_that_is_not_utf_8_can_be_printed(tmp_path: Path) -> None:
    np.savez(tmp_path / "digits.npz", images=np.zeros((4, 8, 8), np.uint8))

    done = started(tmp_path, "mv digits.npz $'caf\\xe9.npz'; $Q init $'caf\\xe9.npz' -o job.yaml")

    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.system
@pytest.mark.parametrize(
    "size", [pytest.param("400k", marks=pytest.mark.slow), "1500k", pytest.param("3m", marks=pytest.mark.slow)]
)
def test_a_job_on_a_full_disk_ends_with_one_line_and_the_fix(tmp_path: Path, size: str) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs `unshare -rm`")
    (tmp_path / "disk").mkdir()
    job = (
        "{name: a, data: {kind: digits, limit: 400}, validation: {folds: 3}, execution: {executor: local}, tracking: "
        "{enabled: false}, members: {f: {kind: random_forest, trees: 300}, e: {kind: extra_trees, trees: 300}}}"
    )
    (tmp_path / "job.yaml").write_text(job)
    script = (
        f"mount -t tmpfs -o size={size} tmpfs disk && cd disk && $Q train ../job.yaml; "
        "echo rc $?; find . -name '*.partial*' -o -name '.new-*'"
    )

    done = started(tmp_path, f"unshare -rm sh -c {shlex.quote(script)}")

    assert done.stdout.rstrip().endswith("rc 1"), done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "No space left" in done.stderr + done.stdout or "no space is left" in done.stderr + done.stdout
