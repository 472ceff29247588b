"""List the runs of a folder with their state and metrics, and remove runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quorate.runs.errors import LaterVersionError, RunError
from quorate.runs.folder import BOARD, RunFolder
from quorate.runs.job_record import JOB_FILE, JobRecord
from quorate.runs.search_record import NAME as SEARCH
from quorate.runs.search_record import SearchRecord
from quorate.tracking import journal
from quorate.tracking.codec import JournalError, LaterJournalError
from quorate.tracking.shipper_process import Shipper, default_uri

State = Literal["finished", "damaged", "running", "failed", "interrupted", "unknown"]

STARTING = 60.0
"""Seconds for which a run folder without a journal counts as new, not as interrupted; an assumption."""


@dataclass(frozen=True)
class PastRun:
    """One run in the output of `quorate runs`; metrics are None if the run did not finish."""

    name: str
    started: str
    """Local time, ISO 8601."""
    state: State
    data: str
    members: int
    oof_nll: float | None
    test_nll: float | None
    test_accuracy: float | None
    seconds: float | None
    size: int
    """Bytes of the folder."""


def past_runs(runs: Path) -> list[PastRun]:
    """The runs in a folder, newest first; other folders are skipped."""
    jobs = sorted(runs.glob(f"*/{JOB_FILE}"), key=lambda path: path.stat().st_mtime, reverse=True)
    found = []
    for path in jobs:
        if path.parent.name.startswith("."):
            continue
        try:
            job = JobRecord.read(path)
        except RunError:  # Quorate did not write the file
            continue
        folder = RunFolder(path.parent)
        found.append(past_run(folder, job, state_of(folder), size_of(folder.path)))
    return found


def state_of(run: RunFolder, *, driven: bool | None = None) -> State:
    """The state of a run. The process of a run holds a lock on the journal, which the kernel releases when the process
    ends; `driven` says whether a process works on a run in a bucket, whose journal nobody locks here.

    A run whose journal cannot be read is `damaged`, or `unknown` if a later version of Quorate wrote the journal.
    """
    if (run.path / BOARD).is_file():
        return "finished"
    path = run.path / journal.NAME
    if not path.is_file():
        just_made = time.time() - (run.path / JOB_FILE).stat().st_mtime < STARTING
        return "running" if driven or just_made else "interrupted"
    written = journal.is_written(path) if driven is None else driven
    try:
        status = journal.end_of(path, "job")
    except JournalError as error:
        ended: State = "unknown" if isinstance(error, LaterJournalError) else "damaged"
        return "running" if written else ended
    if written or (written is None and status is None):
        return "running"
    if status == "FINISHED" and (run.path / SEARCH).is_file():
        return "finished"
    return "failed" if status == "FAILED" else "interrupted"


def removable(run: str, runs: Path) -> RunFolder:
    """Find a run by its path or name.

    Raises `RunError` if it is not directly in `runs`, if it has not ended, and if its job file is not one of Quorate.
    """
    named = next((path for path in (runs / run, Path(run)) if (path / JOB_FILE).is_file()), None)
    if named is None:
        raise RunError(f"there is no run {run!r} in {runs.absolute()}")
    named = Path(os.path.abspath(named))  # noqa: PTH100 - `resolve` would follow the links that are refused here
    if named.parent.resolve() != runs.resolve():
        raise RunError(f"{run} is not in {runs.absolute()}; remove it by hand, or set QUORATE_RUNS")
    if named.is_symlink():
        raise RunError(f"{run} is a link to {named.resolve()}; remove it by hand")
    folder = RunFolder(named)
    try:
        JobRecord.read(folder.path / JOB_FILE)
    except RunError as error:
        raise RunError(f"{run} may not be a run: {error}; or remove the folder by hand") from None
    if state_of(folder) == "running":
        raise RunError(f"{named.name} is running; stop it first (Ctrl-C keeps its work)")
    return folder


def unsent(run: RunFolder) -> int | None:
    """Number of records that have not reached MLflow and would be lost with the run; None if the journal cannot be
    read."""
    if not JobRecord.read(run.path / JOB_FILE).tracking.enabled or not (run.path / journal.NAME).is_file():
        return 0
    try:
        return Shipper(run.path, default_uri(), None).pending()
    except JournalError:
        return None


def remove(run: RunFolder) -> None:
    """Remove a finished or interrupted run with all files in its folder; links are removed, not followed.

    Raises `RunError` if a job or a shipper still works on it.
    """
    with contextlib.ExitStack() as locks:
        for name in (journal.NAME, "shipper.lock"):
            if (run.path / name).is_file():
                locks.enter_context(_held(run.path / name, run))
        # with this name it is no longer listed, even if the removal is interrupted
        going = run.path.with_name(f".removed-{run.name}")
        run.path.rename(going)
        shutil.rmtree(going)


def size_of(folder: Path) -> int:
    """Size in bytes of the files in a folder and below it; a link counts as a link."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a running job removed it
                total += (Path(root) / name).lstat().st_size
    return total


@contextlib.contextmanager
def _held(path: Path, run: RunFolder) -> Iterator[None]:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = "is running" if path.name == journal.NAME else "is still being sent to MLflow"
            raise RunError(f"{run.name} {what}; try again when this has ended") from None
        except OSError:
            pass  # a file system without locks; `removable` has already checked the journal
        yield


def past_run(run: RunFolder, job: JobRecord, state: State, size: int) -> PastRun:
    """What a list of runs shows of a run, whose folder has the bytes `size`."""
    board, search = None, None
    if state == "finished":
        try:
            search = SearchRecord.read(run)
            board = run.board() if search is None else None
        except LaterVersionError:
            pass  # it is finished, but this version cannot read its metrics
        except RunError:
            state = "damaged"
    oof, test = (board.ensemble.oof, board.ensemble.test) if board is not None else (None, None)
    started = time.localtime((run.path / JOB_FILE).stat().st_mtime)
    best = search.best if search is not None else None
    seconds = board.seconds if board is not None else search.seconds if search is not None else None
    oof_nll = best.loss if best is not None and search is not None and search.metric == "nll" else None
    return PastRun(
        name=run.name,
        started=time.strftime("%Y-%m-%dT%H:%M:%S", started),
        state=state,
        data=str(job.data),
        members=len(board.members) if board is not None else job.copies,
        oof_nll=oof.nll if oof is not None else oof_nll,
        test_nll=test.nll if test is not None else None,
        test_accuracy=test.accuracy if test is not None else None,
        seconds=seconds,
        size=size,
    )
