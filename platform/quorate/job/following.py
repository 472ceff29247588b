"""Follow a job that another process runs, from the journal of its run."""

from __future__ import annotations

import contextlib
import time

from rich.console import Console

from quorate.execution.interrupt import StopRequest
from quorate.job.followed_job import FollowedJob
from quorate.job.lease import JobRunsElsewhere
from quorate.report.journal_progress import JournalProgress
from quorate.runs.copy import JUST_BOARD
from quorate.runs.errors import RunError
from quorate.runs.journal_reader import JournalReader
from quorate.runs.lookup import find_run

_POLL = 1.0
"""Seconds between two looks at the lease and the journal: an assumption."""


class _Reader:
    """Prints the progress of a run; nothing while its address is not known."""

    def __init__(self, console: Console) -> None:
        self.progress = JournalProgress()
        self._console = console
        self._reader: JournalReader | None = None

    @property
    def address(self) -> str:
        return self._reader.address if self._reader is not None else ""

    def read(self, address: str = "") -> None:
        """Print a line for each fit task that has ended since the last call."""
        if address and address != self.address:
            self._reader = JournalReader(address)
        if self._reader is None:
            return
        with contextlib.suppress(RunError):  # there is none yet, or it is in a folder of another machine
            for line in filter(None, map(self.progress.on, self._reader.new_records())):
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def follow(other: JobRunsElsewhere, console: Console, stop: StopRequest) -> FollowedJob:
    """Print the progress of a job in another process until it ends.

    Raises `Interrupted` after a signal, which does not reach that process.
    """
    reader, said = _Reader(console), ""
    with console.status("") as status:
        while (holder := other.watch.holder()) is not None:
            stop.check()
            reader.read(holder.about)
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
