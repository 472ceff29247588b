"""Survey a cluster of which only the dashboard is reachable: the survey runs on its head."""

from __future__ import annotations

import secrets
import tempfile
import time
from pathlib import Path

from quorate.doctor.survey import Survey
from quorate.execution.ray.cluster import ClusterError
from quorate.execution.ray.job_server import JobServer, SubmittedJob
from quorate.job.package_archive import pack_package
from quorate.job.submission import command_on_head

_PATIENCE = 180.0
"""Seconds for the start of the process and its survey. An assumption."""
_POLL = 0.5


def survey_from_head(address: str, store: str | None) -> Survey:
    """Survey a cluster by the address of its dashboard; raises `ClusterError`.

    This package is sent to the head, where a process runs as the driver of a submitted job does. Its job is deleted
    from the list of the cluster in the end. `store` defaults to that of the head.
    """
    server = JobServer(address)
    name = f"quorate-doctor-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="quorate-") as folder:
        archive = Path(folder) / "package.zip"
        pack_package(archive)
        words = ["survey", *(("--store", store) if store is not None else ())]
        server.submit(name, command_on_head(*words), archive, about={})
    job = _ended(server, name)
    try:
        lines = server.log(job).decode(errors="replace").strip().splitlines()
    finally:
        server.forget(job)
    if job.state != "finished":
        said = lines[-1] if lines else job.message
        raise ClusterError(f"the head of the cluster cannot run the survey: {said}")
    return Survey.from_text(lines[-1])


def _ended(server: JobServer, name: str) -> SubmittedJob:
    until = time.monotonic() + _PATIENCE
    while True:
        job = server.job(name)
        if job is None:
            raise ClusterError(f"the head at {server.address} was restarted during the survey; try again")
        if not job.is_active:
            return job
        if time.monotonic() > until:
            server.stop(name)
            raise ClusterError(
                f"the survey did not end on the head of {server.address} within {_PATIENCE:.0f} s: `ray status` there "
                "shows whether its nodes answer"
            )
        time.sleep(_POLL)
