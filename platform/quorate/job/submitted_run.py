"""Share the run of a submitted job on the cluster, and read it from another machine."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from quorate.errors import UserError
from quorate.execution.ray.job_server import JobServer, SubmittedJob
from quorate.execution.ray.shared_folder import share_folder
from quorate.report.journal_progress import JournalProgress
from quorate.runs.copy import Parts
from quorate.runs.folder import BOARD, RunFolder
from quorate.runs.leaderboard import Leaderboard
from quorate.runs.lookup import find_journal
from quorate.tracking import journal
from quorate.tracking.records import Record

_SHARED = Path(".quorate/submitted")
"""In the folder of the driver, a folder for each submitted job."""
_RUN = "run"
_ABOUT = "run.json"
_AT_ONCE = 8
"""Files that are fetched at the same time, because a request takes some milliseconds: an assumption."""


@dataclass(frozen=True)
class SharedRun:
    """The run of a submitted job."""

    name: str
    address: str
    """The path of its folder on the head, or the URL of a run in a bucket."""

    @property
    def is_in_bucket(self) -> bool:
        return "://" in self.address


class RunFiles(Protocol):
    """The files of a run on another machine."""

    def names(self) -> list[str]:
        """The names of all files, relative to the run folder."""

    def save(self, name: str, path: Path) -> None:
        """Write the content of a file to a path here; raises `FileNotFoundError`."""


class _FilesOnHead:
    def __init__(self, server: JobServer, job: SubmittedJob) -> None:
        self._server, self._job = server, job

    def names(self) -> list[str]:
        return self._server.files(self._job, _RUN)

    def save(self, name: str, path: Path) -> None:
        with path.open("wb") as file:
            for piece in self._server.read(self._job, f"{_RUN}/{name}"):
                file.write(piece)


class _FilesOfCopy:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        return sorted(path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file())

    def save(self, name: str, path: Path) -> None:
        shutil.copyfile(self._folder / name, path)


def publish_run(name: str, run: RunFolder) -> None:
    """Show the run of a submitted job to those who may use the dashboard of the cluster, on which this process runs."""
    folder = _SHARED / name
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / _RUN
    link.unlink(missing_ok=True)
    link.symlink_to(run.path.absolute(), target_is_directory=True)
    address = run.address if run.origin is not None else str(run.path.absolute())
    partial = folder / f".{_ABOUT}.partial"
    partial.write_text(json.dumps(asdict(SharedRun(run.name, address))), encoding="utf-8")
    partial.replace(folder / _ABOUT)
    share_folder(name, folder)


def shared_run(server: JobServer, job: SubmittedJob) -> SharedRun | None:
    """The run of a submitted job; None if its driver has not begun it."""
    try:
        return SharedRun(**json.loads(b"".join(server.read(job, _ABOUT))))
    except FileNotFoundError:
        return None


def files_of_run(server: JobServer, job: SubmittedJob, run: SharedRun, parts: Parts | None = None) -> RunFiles:
    """Where the files of a run are read: in its bucket, or on the head while its job runs and if it has no bucket.

    Of a run in a bucket, only the `parts` are needed. Raises `RunError` if it cannot be read there.
    """
    if run.is_in_bucket and not job.is_active:
        return _FilesOfCopy(find_journal(run.address, parts).path)
    return _FilesOnHead(server, job)


def board_of_run(files: RunFiles) -> Leaderboard | None:
    """The leaderboard of a run; None if it is not finished."""
    with tempfile.TemporaryDirectory(prefix="quorate-") as folder:
        path = Path(folder) / BOARD
        try:
            files.save(BOARD, path)
        except FileNotFoundError:
            return None
        return Leaderboard.read(path)


def text_of(files: RunFiles, name: str) -> str:
    """The text of a file of a run."""
    with tempfile.TemporaryDirectory(prefix="quorate-") as folder:
        path = Path(folder) / "text"
        files.save(name, path)
        return path.read_text(encoding="utf-8", errors="replace")


def progress_of_run(files: RunFiles) -> JournalProgress:
    """What the journal of a run says."""
    progress = JournalProgress()
    for record in records_of_run(files):
        progress.on(record)
    return progress


def records_of_run(files: RunFiles) -> list[Record]:
    """The journal of a run; empty if it has none yet."""
    with tempfile.TemporaryDirectory(prefix="quorate-") as folder:
        path = Path(folder) / journal.NAME
        try:
            files.save(journal.NAME, path)
        except FileNotFoundError:
            return []
        return list(journal.records(path))


def fetch_run(files: RunFiles, run: SharedRun, into: Path) -> Path:
    """Copy a run into a folder of this machine, and return its folder. A run that is there is complete.

    The bundle is verified by the SHA-256 of its files. Raises `BundleError` if it is damaged.
    """
    from quorate.bundle.folder import verified_manifest  # imports torch, which takes seconds

    target, partial = into / run.name, into / f".{run.name}.partial"
    if target.exists():
        return target
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _save_all(files, run, partial)
        if (partial / "bundle").is_dir():
            verified_manifest(partial / "bundle")
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _save_all(files: RunFiles, run: SharedRun, folder: Path) -> None:
    names = [name for name in files.names() if _is_sent(name)]
    if any(part in ("..", "") for name in names for part in name.split("/")):
        raise UserError(f"{run.address} has a file whose name leads out of the run; Quorate did not write it")
    for parent in {(folder / name).parent for name in names}:
        parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(files.save, names, [folder / name for name in names]))


def _is_sent(name: str) -> bool:
    return not any(part.startswith(".") for part in name.split("/")) and name != "shipper.lock"


def log_names(names: Sequence[str], member: str, fold: int | None) -> list[str]:
    """The logs of a member of a run among its files: of all its copies and folds, or of one fold (from 1)."""
    part = r"[^/]*" if fold is None else f"fold{fold}"
    pattern = rf"logs/{re.escape(member)}(\.[^/]+)?\.{part}\.log"
    return [name for name in names if re.fullmatch(pattern, name)]
