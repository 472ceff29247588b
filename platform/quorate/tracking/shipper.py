"""Send the journal of a run folder to MLflow, in a separate process: during a job, or once for `quorate sync`."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quorate.errors import without_secrets
from quorate.tracking import journal, position
from quorate.tracking.codec import JournalError
from quorate.tracking.records import HeaderRecord
from quorate.tracking.shipper_process import SQLITE, absolute, default_uri

if TYPE_CHECKING:
    from quorate.tracking.delivery import Delivery

INTERVAL = 1.0
"""Seconds between two batches (an assumption)."""
LONGEST_PAUSE = 30.0
"""Longest pause in seconds between two attempts at a server that is down; the pauses are 1, 2, 4, ... (an
assumption)"""
TRIES = 3
"""Maximum number of attempts of a single pass, that is, without `--follow` (an assumption)."""
LOCK_WAIT = 5.0
"""Seconds that a single pass waits for another shipper of the same folder (an assumption)."""
IN_THE_WAY = (
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_ACTIVE_MODEL_ID",
)


class LockedError(RuntimeError):
    """Another shipper is sending this run folder."""


@dataclass(slots=True)
class Shipment:
    """The state of sending one run folder to one server."""

    folder: Path
    uri: str
    header: HeaderRecord
    where: position.Position
    delivery: Delivery | None = None

    def connect(self) -> Delivery:
        """Connect to the server, and find or create the experiment; raises `UnreachableError`."""
        from quorate.tracking.delivery import open_delivery

        if self.delivery is None:
            self.delivery = open_delivery(self.uri, self.folder, self.header, self.where)
        self.delivery.connect()
        return self.delivery

    def all_there_is(self) -> None:
        """Send all complete records, and save the position after each chunk."""
        delivery = self.connect()
        while True:
            records, end = journal.read(self.folder / journal.NAME, self.where.offset)
            if end == self.where.offset:
                return
            delivery.deliver(records)
            self.where.offset, self.where.sent = end, self.where.sent + len(records)
            self.save()

    def kill_open(self) -> None:
        """End the open runs of a job whose process has ended."""
        self.connect().kill_open()
        self.save()

    def save(self) -> None:
        position.save(self.folder, self.uri, self.where)


@dataclass(slots=True)
class Parent:
    """The process of the driver. It counts as gone once it has ended, even as a zombie that no process has waited
    for."""

    pid: int
    is_ours: bool

    def is_gone(self) -> bool:
        if self.is_ours:
            return os.getppid() != self.pid
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def main(arguments: list[str] | None = None) -> int:
    """Send a journal; returns the exit code: 0 if nothing is left to send, 2 if the journal cannot be read, otherwise
    1."""
    options = _parser().parse_args(arguments)
    folder, uri = options.run_folder.resolve(), absolute(options.uri or default_uri())
    path = folder / journal.NAME
    parent = Parent(options.parent_pid, os.getppid() == options.parent_pid)
    if not folder.is_dir():
        print(f"nothing to send: there is no folder {folder}", flush=True)
        return 1
    try:
        with _alone(folder, parent if options.follow else None):
            header = _wait_for_header(path, parent if options.follow else None)
            if header is None:
                print(f"nothing to send: {path} holds no journal", flush=True)
                return 1
            where = position.load(folder, uri, header.run)
            before = where.sent
            sending = Shipment(folder, uri, header, where)
            if options.follow:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray's stop of a job reaches all processes of the driver
                _give_way()
                _prepare(uri)
                _follow(sending, parent)
            elif journal.count(path, where.offset):
                _prepare(uri)
                _one_pass(sending)
            left = journal.count(path, where.offset)
            print(_summary(uri, where, where.sent - before, left), flush=True)
            return 0 if left == 0 else 1
    except LockedError as error:
        print(error, flush=True)
        return 1
    except JournalError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2


def _give_way() -> None:
    """Leave the processors to the job: lower the priority of this process, and of its session.

    Linux compares the priorities of processes only within a session, and those of sessions with each other, if it
    groups them (autogroups, sched(7)).
    """
    os.nice(10)
    with suppress(OSError):  # this Linux does not group them
        Path("/proc/self/autogroup").write_text("10", encoding="ascii")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="quorate.tracking.shipper", description=__doc__)
    parser.add_argument("run_folder", type=Path)
    parser.add_argument("--uri", help="tracking server; default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db")
    parser.add_argument("--follow", action="store_true", help="continue until the job has ended")
    parser.add_argument("--parent-pid", type=int, default=os.getppid(), help="the job's process, for --follow")
    return parser


def _prepare(uri: str) -> None:
    """Set the environment for MLflow before its import, and change to a folder that fits its default paths."""
    for name in IN_THE_WAY:
        os.environ.pop(name, None)
    os.environ["MLFLOW_TRACKING_URI"] = uri
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    # no retries by MLflow, because ours first check whether the call had an effect
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    if uri.startswith(SQLITE):
        home = Path(uri.removeprefix(SQLITE)).parent
        home.mkdir(parents=True, exist_ok=True)
        os.chdir(home)  # MLflow writes the artifacts to ./mlruns, which is then next to the database


def _summary(uri: str, where: position.Position, sent: int, left: int) -> str:
    """One line with the numbers of records sent now, sent earlier, left and refused, and the first refusal."""
    there = f", {where.sent - sent} sent before" if where.sent > sent else ""
    line = f"{sent} records sent to {without_secrets(uri)}{there}, {left} left"
    if where.refused:
        first = where.refused[0]
        line += f", {len(where.refused)} refused (first: {first.what} of {first.uid}: {first.reason})"
    return line


def _follow(sending: Shipment, parent: Parent) -> None:
    """Send new records about every second, until the last record of the journal is sent or the job has ended."""
    from quorate.tracking.attempts import UnreachableError

    pause = INTERVAL
    while True:
        orphan = parent.is_gone()  # checked first, so that this pass includes the last records of the parent
        closed = journal.is_closed(sending.folder / journal.NAME)
        try:
            sending.all_there_is()
            if orphan and not closed:
                sending.kill_open()
            pause = INTERVAL
            if orphan or closed:
                return
        except UnreachableError as error:
            print(f"not sent: {error}", flush=True)
            position.save_outage(sending.folder, sending.uri, str(error))
            if orphan:
                return
            pause = min(2 * pause, LONGEST_PAUSE)
        _sleep(pause, sending.folder / journal.NAME, parent, until_closed=pause == INTERVAL)


def _sleep(seconds: float, path: Path, parent: Parent, *, until_closed: bool) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not parent.is_gone():
        if until_closed and journal.is_closed(path):
            return
        time.sleep(0.1)


def _one_pass(sending: Shipment) -> None:
    from quorate.tracking.attempts import UnreachableError

    for attempt in range(TRIES):
        try:
            sending.all_there_is()
        except UnreachableError as error:
            print(f"not sent: {error}", file=sys.stderr, flush=True)
            if attempt + 1 < TRIES:
                time.sleep(2**attempt)
        else:
            return


@contextmanager
def _alone(folder: Path, parent: Parent | None) -> Iterator[None]:
    """Hold the lock of the folder; the kernel releases it when this process ends for any reason.

    During a job, the shipper waits for the lock until the job ends. A single pass waits for `LOCK_WAIT` seconds.
    """
    deadline = time.monotonic() + LOCK_WAIT
    with (folder / "shipper.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                over = time.monotonic() > deadline if parent is None else parent.is_gone()
                if over:
                    raise LockedError(f"another shipper is sending {folder}") from None
                time.sleep(0.1)
        yield


def _wait_for_header(path: Path, parent: Parent | None) -> HeaderRecord | None:
    while True:
        header = journal.header(path) if path.exists() else None
        if header is not None or parent is None or parent.is_gone():
            return header
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
