"""Submit jobs to a cluster through the dashboard of its head, watch and stop them, and read the files that they share.

Only the port of the dashboard needs to be reachable, and not Ray's other ports.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from quorate.execution.ray.cluster import ClusterError
from quorate.execution.ray.dashboard import ADDRESS, ServerSilent, authorities, knock, reason_of
from quorate.execution.ray.shared_folder import link_of
from quorate.execution.ray.token import refusal_of

if TYPE_CHECKING:
    from quorate.execution.ray.jobs_api import JobsApi

_STOP_SECONDS = 30
"""Seconds between SIGTERM and SIGKILL for a driver that is stopped. Ray's default is 3. `execution.interrupt` ends a
driver within 10 s, and the process that sends records to MLflow has some seconds more."""
_STATES: Mapping[str, JobState] = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "finished",
    "FAILED": "failed",
    "STOPPED": "stopped",
}

JobState = Literal["waiting", "running", "finished", "failed", "stopped"]


class JobExists(ClusterError):
    """There is a submitted job of this id."""


@dataclass(frozen=True)
class SubmittedJob:
    """A job of the Jobs API."""

    id: str
    state: JobState
    started: float
    """Seconds since 1970, on the head's clock."""
    ended: float | None
    exit_code: int | None
    """Of the driver, if it ended by itself; negative for a signal."""
    message: str
    node: str | None
    """The id of the driver's node; None before it has started."""
    about: Mapping[str, str]
    """What the submitter wanted to be kept with the job."""

    @property
    def is_active(self) -> bool:
        return self.state in ("waiting", "running")


class JobServer:
    """The Jobs API of a cluster. Methods raise `ClusterError`."""

    def __init__(self, address: str) -> None:
        """Connect to `address`, such as http://HEAD:8265."""
        self.address = address.rstrip("/")
        knock(self.address)
        from ray.job_submission import JobStatus  # noqa: F401 - Ray reads the environment when it is imported

        from quorate.execution.ray.jobs_api import JobsApi

        with self._explained(), _without_other_addresses():
            self._api: JobsApi = JobsApi(self.address, verify=authorities() or True)

    def jobs(self) -> list[SubmittedJob]:
        """All jobs that were submitted, oldest first."""
        with self._explained():
            found = [_job_of(details) for details in self._api.list_jobs() if details.submission_id]
        return sorted(found, key=lambda job: job.started)

    def job(self, name: str) -> SubmittedJob | None:
        """One job; None if there is none of this id."""
        with self._explained():
            try:
                return _job_of(self._api.get_job_info(name))
            except RuntimeError as error:
                if "404" in str(error):
                    return None
                raise

    def submit(self, name: str, command: str, package: Path, *, about: Mapping[str, str]) -> None:
        """Start a command on the head, in a folder with the content of a ZIP file; raises `JobExists`."""
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_SECONDS)}
        with self._explained():
            try:
                self._api.submit_job(
                    submission_id=name,
                    entrypoint=command,
                    runtime_env={"working_dir": str(package), "env_vars": variables},
                    metadata=dict(about),
                )
            except RuntimeError as error:
                if "already exists" in str(error):
                    raise JobExists(f"there is a job {name} at {self.address}") from None
                raise

    def stop(self, name: str) -> None:
        """Ask the driver of a job to stop, as a signal does; it has 30 s."""
        with self._explained():
            self._api.stop_job(name)

    def forget(self, job: SubmittedJob) -> None:
        """Remove a job that has ended from the list of jobs."""
        with self._explained():
            self._api.delete_job(job.id)

    def log(self, job: SubmittedJob) -> bytes:
        """What the driver has printed."""
        return b"" if job.node is None else self._content(job.node, _log_of(job))

    def follow_log(self, job: SubmittedJob) -> FollowedFile:
        assert job.node is not None, "it has started"
        return FollowedFile(self._api, job.node, _log_of(job))

    def files(self, job: SubmittedJob, folder: str) -> list[str]:
        """The names of the files in and below a folder of those that the driver shares, relative to it."""
        if job.node is None:
            return []
        folder = f"{link_of(job.id)}/{folder}/"
        with self._explained():
            found = self._api.list_files(job.node, f"{folder}**/*")
        return [name.removeprefix(folder) for name in found if not name.endswith("/")]

    def read(self, job: SubmittedJob, name: str) -> Iterator[bytes]:
        """The content of a file that the driver shares, in pieces; raises `FileNotFoundError`."""
        if job.node is None:
            raise FileNotFoundError(name)
        with self._explained():
            yield from self._api.read_file(job.node, f"{link_of(job.id)}/{name}")

    def follow(self, job: SubmittedJob, name: str) -> FollowedFile:
        assert job.node is not None, "it has started"
        return FollowedFile(self._api, job.node, f"{link_of(job.id)}/{name}")

    def _content(self, node: str, name: str) -> bytes:
        with self._explained():
            return b"".join(self._api.read_file(node, name))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the errors of a request into `ClusterError`."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except FileNotFoundError:
            raise
        except AuthenticationError as error:
            raise ClusterError(refusal_of(self.address, missing="required" in str(error))) from None
        except OSError as error:
            raise ServerSilent(f"no Ray dashboard answers at {self.address}: {reason_of(error)}") from None
        except (RuntimeError, KeyError) as error:
            first = str(error).strip().splitlines()[0][:300]
            raise ClusterError(f"{self.address} does not answer as the dashboard of a Ray cluster: {first}") from None


class FollowedFile:
    """A file of a node that grows; a thread reads it. If the connection breaks, it is made again."""

    def __init__(self, api: JobsApi, node: str, name: str) -> None:
        self._api, self._node, self._name = api, node, name
        self._pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._over = threading.Event()
        threading.Thread(target=self._read, name=f"follow {name}", daemon=True).start()
        self.offset = 0
        """The number of bytes that `new` has returned."""

    def new(self) -> bytes:
        """What has come since the last call."""
        pieces = []
        with contextlib.suppress(queue.Empty):
            while True:
                pieces.append(self._pieces.get_nowait())
        content = b"".join(pieces)
        self.offset += len(content)
        return content

    def close(self) -> None:
        """Stop reading; a daemon thread that waits for the network ends with the process."""
        self._over.set()

    def _read(self) -> None:
        known = 0
        while not self._over.is_set():
            at = 0
            with contextlib.suppress(OSError, RuntimeError):
                for piece in self._api.read_file(self._node, self._name, follow=True):
                    if self._over.is_set():
                        return
                    if (new := piece[max(known - at, 0) :]) != b"":
                        self._pieces.put(new)
                    at += len(piece)
                    known = max(known, at)
            self._over.wait(1.0)


@contextlib.contextmanager
def _without_other_addresses() -> Iterator[None]:
    """Ray's client would prefer these variables to the address that it is given."""
    kept = {name: os.environ.pop(name) for name in (ADDRESS, "RAY_ADDRESS") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _job_of(details: Any) -> SubmittedJob:
    return SubmittedJob(
        id=details.submission_id,
        state=_STATES[details.status.value],
        started=(details.start_time or 0) / 1000,
        ended=None if details.end_time is None else details.end_time / 1000,
        exit_code=details.driver_exit_code,
        message=details.message or "",
        node=details.driver_node_id,
        about=details.metadata or {},
    )


def _log_of(job: SubmittedJob) -> str:
    """Ray's name of the file with the output of the driver."""
    return f"job-driver-{job.id}.log"
