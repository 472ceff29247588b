"""Follow a job that another process runs, from the journal of its run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from quorate.execution.interrupt import StopRequest
from quorate.job.lease import JobRunsElsewhere
from quorate.report.journal_progress import JournalProgress
from quorate.runs.copy import JUST_BOARD, JUST_JOURNAL
from quorate.runs.errors import RunError
from quorate.runs.leaderboard import Leaderboard
from quorate.runs.lookup import find_journal, find_run
from quorate.tracking import journal

_POLL = 1.0
"""Seconds between two looks at the lease and the journal: an assumption."""


@dataclass(frozen=True)
class FollowedJob:
    """How a job in another process ended."""

    code: int
    """Its exit code."""
    message: str
    run: str = ""
    """The address of its run."""
    board: Leaderboard | None = None
    """None if it did not finish, and if its run cannot be read here."""


class _Reader:
    """Reads the new records of a run, on this machine or in a bucket."""

    def __init__(self, console: Console) -> None:
        self.progress = JournalProgress()
        self.address = ""
        self._console, self._offset = console, 0

    def read(self) -> None:
        """Print a line for each fit task that has ended since the last call."""
        path = self._journal()
        while path is not None:
            records, end = journal.read(path, self._offset)
            if end == self._offset:
                return
            self._offset = end
            for line in filter(None, map(self.progress.on, records)):
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _journal(self) -> Path | None:
        """None while there is none, and if the run is in a folder of another machine."""
        if not self.address:
            return None
        try:
            return find_journal(self.address, JUST_JOURNAL).path / journal.NAME
        except RunError:
            return None


def follow(other: JobRunsElsewhere, console: Console, stop: StopRequest) -> FollowedJob:
    """Print the progress of a job in another process until it ends.

    Raises `Interrupted` after a signal, which does not reach that process.
    """
    reader, said = _Reader(console), ""
    with console.status("") as status:
        while (holder := other.watch.holder()) is not None:
            stop.check()
            reader.address = holder.about
            reader.read()
            if (now := str(reader.progress)) != said:
                status.update(said := now)
            time.sleep(_POLL)
    reader.read()
    return _outcome(other, reader)


def _outcome(other: JobRunsElsewhere, reader: _Reader) -> FollowedJob:
    where, status = f"{other.holder}", reader.progress.status
    if status == "FINISHED":
        try:
            board = find_run(reader.address, JUST_BOARD).board()
            return FollowedJob(0, f"{where} has finished the job", reader.address, board)
        except RunError as error:
            return FollowedJob(1, f"{where} has ended, but its run is not complete: {error}")
    if status == "FAILED":
        return FollowedJob(1, f"the job of {where} failed; see {reader.address}")
    if status == "KILLED":
        return FollowedJob(reader.progress.exit_code or 130, f"the job of {where} was interrupted; its work is kept")
    run = f"the journal of its run {reader.address} does not say how" if reader.address else "it named no run"
    return FollowedJob(1, f"{where} does not work on the job any more, and {run}; run the same command to continue")
