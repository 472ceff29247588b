"""Read the journal of a submitted job while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quorate.execution.ray.job_server import FollowedFile, JobServer, SubmittedJob
from quorate.job.submitted_run import shared_run
from quorate.tracking import journal
from quorate.tracking.records import Record


class SubmittedJournal:
    """Reads what has come to the journal of a submitted job since the last call; its copy is in a folder here."""

    def __init__(self, server: JobServer, folder: Path) -> None:
        self._server, self._copy = server, folder / journal.NAME
        self._file: FollowedFile | None = None
        self._offset = 0

    def has_begun(self, job: SubmittedJob) -> bool:
        """Whether the run of the job has begun, so that there is a journal."""
        if self._file is None and job.node is not None and shared_run(self._server, job) is not None:
            self._file = self._server.follow(job, f"run/{journal.NAME}")
        return self._file is not None

    def new_records(self) -> Sequence[Record]:
        """The new records; the run has begun."""
        assert self._file is not None, "it has begun"
        with self._copy.open("ab") as copy:
            copy.write(self._file.new())
        records, self._offset = journal.read(self._copy, self._offset)
        return records
