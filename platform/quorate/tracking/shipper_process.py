"""Start the shipper of a job from the driver, and read its progress."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from quorate.errors import without_secrets
from quorate.tracking import journal, position

log = logging.getLogger(__name__)

SQLITE = "sqlite:///"
COMMAND = [sys.executable, "-P", "-m", "quorate.tracking.shipper"]


class Shipper:
    """The shipper process of `run_folder`; its failures do not affect the job."""

    def __init__(self, run_folder: Path, uri: str, process: subprocess.Popen[bytes] | None) -> None:
        self.run_folder = run_folder
        self.uri = without_secrets(absolute(uri))
        self._process = process

    def pending(self) -> int:
        """The number of records of the journal that have not been sent yet."""
        return journal.count(self.run_folder / journal.NAME, self._position().offset)

    def refused(self) -> list[position.Refusal]:
        """The records that the server will never accept."""
        return self._position().refused

    def outage(self) -> str:
        """Why the server could not be reached the last time; empty if it could."""
        return position.outage(self.run_folder, self.uri)

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for the shipper to end, once the journal is closed; return whether all records are
        sent."""
        deadline = time.monotonic() + seconds
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.pending() == 0

    def _position(self) -> position.Position:
        path = self.run_folder / journal.NAME
        header = journal.header(path) if path.exists() else None
        return position.load(self.run_folder, self.uri, header.run if header else "")


def start_shipper(run_folder: Path, uri: str) -> Shipper:
    """Start a process that sends the journal of `run_folder` to MLflow at `uri` until the job ends.

    The process writes to `shipper.log` in the run folder. It has its own session, so that Ctrl-C does not reach it, and
    a low priority. Returns at once. If the process cannot start, a warning is shown, and the journal is kept.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    command = [*COMMAND, str(run_folder.resolve()), "--follow", "--parent-pid", str(os.getpid())]
    try:
        with (run_folder / "shipper.log").open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(uri),
                start_new_session=True,
            )
    except OSError as error:
        log.warning(
            "records are not sent to MLflow during the job (%s); to send them later: quorate sync %s", error, run_folder
        )
        return Shipper(run_folder, uri, None)
    return Shipper(run_folder, uri, process)


def sync(run_folder: Path, uri: str) -> int:
    """Send the remaining records in one pass and print one line.

    Returns 0 if nothing is left, 2 if the journal cannot be read, otherwise 1.
    """
    command = [*COMMAND, str(run_folder.resolve())]
    return subprocess.run(command, env=_environment(uri), check=False).returncode  # noqa: S603


def default_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or `mlflow.db` in the current folder; SQLite paths are made absolute."""
    return absolute(os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db")


def absolute(uri: str) -> str:
    """`uri` with an absolute path of an SQLite file."""
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}" if uri.startswith(SQLITE) else uri


def _environment(uri: str) -> dict[str, str]:
    """The environment of the shipper. It contains the URI, because the list of processes would show an argument."""
    return {**os.environ, "MLFLOW_TRACKING_URI": absolute(uri), "OMP_NUM_THREADS": "1"}
