"""Submit a job to a cluster; a job that runs there or is finished is not submitted again."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quorate.errors import UserError, did_you_mean
from quorate.execution.ray.job_server import JobExists, JobServer, SubmittedJob

if TYPE_CHECKING:
    from quorate.job.sent_job import SentJob  # imports torch, which takes seconds

_IDENTITY = "quorate.job"

_POLL = 0.5
"""Seconds between two looks at a job that is stopped: an assumption."""

_PYTHON = (
    'ray=$(grep -o "/.*/lib/python[0-9.]*/site-packages/ray/_raylet.so" /proc/$PPID/maps | head -n 1); '
    'python="${ray%/lib/python*}/bin/python"; [ -x "$python" ] || python=python3; '
)
"""Shell commands that find the Python of the process that starts the driver: that of Ray. It need not be on the PATH,
and Ray does not name it."""


@dataclass(frozen=True)
class Submission:
    """The job of the cluster that stands for what was submitted."""

    job: SubmittedJob
    is_new: bool
    """False if it was submitted before: it runs, or it is finished."""
    continues: str = ""
    """The id of an earlier driver of the same job that did not finish."""


def submit(server: JobServer, sent: SentJob, *, env: Mapping[str, str], with_package: bool, again: bool) -> Submission:
    """Start the driver of a job on a cluster, unless one works on it or has finished it; `again` starts a finished job
    once more. The driver and its workers get the environment variables `env`."""
    identity = sent.identity()
    same = [job for job in submitted_jobs(server) if job.about[_IDENTITY] == identity]
    newest = same[-1] if same else None
    if newest is not None and (newest.is_active or (newest.state == "finished" and not again)):
        return Submission(newest, is_new=False)
    name = f"{sent.name}-{identity[:8]}" + (f"-{len(same) + 1}" if same else "")
    command = command_on_head("driver", name)
    about = {_IDENTITY: identity}
    with tempfile.TemporaryDirectory(prefix="quorate-") as folder:
        archive = Path(folder) / "job.zip"
        sent.write(archive, with_package=with_package, env=env)
        try:
            server.submit(name, command, archive, about=about)
            is_new = True
        except JobExists:  # another process has just submitted the same job
            is_new = False
    unfinished = newest is not None and newest.state != "finished"
    return Submission(submitted_job(server, name), is_new, newest.id if newest is not None and unfinished else "")


def command_on_head(*words: str) -> str:
    """The shell command that runs `quorate` with the Python of Ray."""
    return f'{_PYTHON}exec "$python" -m quorate {shlex.join(words)}'


def submitted_jobs(server: JobServer) -> list[SubmittedJob]:
    """The jobs of Quorate on a cluster, oldest first."""
    return [job for job in server.jobs() if _IDENTITY in job.about]


def submitted_job(server: JobServer, name: str) -> SubmittedJob:
    """The job with an id; raises `UserError` if there is none."""
    job = server.job(name)
    if job is None or _IDENTITY not in job.about:
        names = [other.id for other in submitted_jobs(server)]
        raise UserError(
            f"there is no job {name!r} at {server.address}{did_you_mean(name, names)}; `quorate status` lists its jobs "
            "(a head that was restarted may have forgotten them: submit the job again, and it continues)"
        )
    return job


def stop_job(server: JobServer, job: SubmittedJob) -> SubmittedJob:
    """Stop a job that runs, and return it when it has ended."""
    server.stop(job.id)
    while job.is_active:
        time.sleep(_POLL)
        job = submitted_job(server, job.id)
    return job
