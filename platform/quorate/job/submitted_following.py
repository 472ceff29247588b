"""Follow a submitted job: print what its driver prints, and show its running tasks."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path

from rich.console import Console

from quorate.errors import UserError
from quorate.execution.interrupt import StopRequest
from quorate.execution.ray.dashboard import ServerSilent
from quorate.execution.ray.job_server import FollowedFile, JobServer, SubmittedJob
from quorate.job.followed_job import FollowedJob
from quorate.job.submission import submitted_job
from quorate.job.submitted_journal import SubmittedJournal
from quorate.job.submitted_run import board_of_run, files_of_run, shared_run
from quorate.report.journal_progress import JournalProgress
from quorate.runs.copy import JUST_BOARD
from quorate.store import StoreUnavailable

_POLL = 0.5
"""Seconds between two looks at the job: an assumption."""
_PATIENCE = 300.0
"""Seconds for which a dashboard that answered before may be silent: an assumption."""
_FIRST = "Running entrypoint for job "
"""How Ray begins the line of its own after which the output of the driver comes."""
_WRONG_INPUT = 2
_ERRORS = ("error: ", "the job failed: ")
"""How the driver begins the line that says why it ends."""


class _DriverLog:
    """Prints the complete new lines of the driver's output, without those of Ray before it."""

    def __init__(self, server: JobServer, console: Console) -> None:
        self._server, self._console = server, console
        self._file: FollowedFile | None = None
        self._text, self._begun = b"", False

    def show_new(self, job: SubmittedJob) -> None:
        if self._file is None and job.node is not None:
            self._file = self._server.follow_log(job)
        if self._file is not None:
            self._print(self._file.new())

    def show_rest(self, job: SubmittedJob) -> None:
        """Print what is left after the end of the driver."""
        offset = 0
        if self._file is not None:
            self._file.close()
            self._print(self._file.new())
            offset = self._file.offset
        self._print(self._server.log(job)[offset:])
        if self._text:
            self._print(b"\n")

    def _print(self, content: bytes) -> None:
        *lines, self._text = (self._text + content).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace")
            if self._begun:
                self._console.print(text, markup=False, highlight=False, soft_wrap=True)
            self._begun = self._begun or text.startswith(_FIRST)


class _Tasks:
    """Describes the running tasks."""

    def __init__(self, server: JobServer, folder: Path) -> None:
        self._journal, self._progress = SubmittedJournal(server, folder), JournalProgress()

    def text(self, job: SubmittedJob) -> str:
        if not self._journal.has_begun(job):
            return progress_without_run(job)
        for record in self._journal.new_records():
            self._progress.on(record)
        return str(self._progress)


def progress_without_run(job: SubmittedJob) -> str:
    """What a job does before its run begins."""
    return "waiting for a place on the cluster" if job.node is None else "the driver starts"


def follow_submitted(server: JobServer, job: SubmittedJob, console: Console, stop: StopRequest) -> FollowedJob:
    """Print what the driver of a job prints until it ends; in a terminal, also show the running tasks.

    Raises `Interrupted` after a signal, which does not reach the driver, and `ServerSilent` if the dashboard does not
    answer for five minutes.
    """
    log, answered = _DriverLog(server, console), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="quorate-") as folder, console.status("") as status:
        tasks = _Tasks(server, Path(folder))
        while True:
            stop.check()
            try:
                job = submitted_job(server, job.id)
                log.show_new(job)
                if not job.is_active:
                    break
                if console.is_terminal:
                    status.update(tasks.text(job))
                answered = time.monotonic()
            except ServerSilent as silent:
                if time.monotonic() - answered > _PATIENCE:
                    raise
                status.update(f"{silent}; trying again")
            time.sleep(_POLL)
    if not console.quiet:
        log.show_rest(job)
    return ended_job(server, job)


def ended_job(server: JobServer, job: SubmittedJob) -> FollowedJob:
    """How a submitted job ended, with its leaderboard if it is finished and its run can be read here."""
    run = shared_run(server, job)
    address = run.address if run is not None else ""
    if job.state == "finished":
        try:
            files = files_of_run(server, job, run, JUST_BOARD) if run is not None else None
            return FollowedJob(0, f"{job.id} is finished", address, board_of_run(files) if files is not None else None)
        except (UserError, StoreUnavailable) as error:  # such as missing credentials of its bucket
            return FollowedJob(0, f"{job.id} is finished, but its run cannot be read here: {error}", address)
    again = "finished tasks and checkpoints are kept; submit the job again to continue"
    code = job.exit_code
    if job.state == "stopped" or (code is not None and code - 128 in (signal.SIGINT, signal.SIGTERM)):
        return FollowedJob(130, f"{job.id} was stopped; {again}", address)
    if code == _WRONG_INPUT:
        said = f"{job.id} cannot run on the cluster as it is; `quorate logs {job.id}` shows what it printed"
        return FollowedJob(_WRONG_INPUT, said, address, error=_last_error(server, job))
    if code is not None and code < 0:
        return FollowedJob(1, f"the driver of {job.id} was killed ({signal.Signals(-code).name}); {again}", address)
    if code is None:
        reason = job.message.strip().splitlines()[0] if job.message.strip() else "its driver has ended without a word"
        return FollowedJob(1, f"{job.id} failed: {reason}; {again}", address)
    said = f"{job.id} failed; `quorate logs {job.id}` shows what it printed"
    return FollowedJob(1, said, address, error=_last_error(server, job))


def _last_error(server: JobServer, job: SubmittedJob) -> str:
    """Why the driver of a job says that it has ended; empty if it does not."""
    for line in reversed(server.log(job).decode(errors="replace").splitlines()):
        for beginning in _ERRORS:
            if line.startswith(beginning):
                return line.removeprefix(beginning)
    return ""
