"""Send a run folder to a bucket while its job runs, and completely at its end.

A run is the files of its folder below `PREFIX/NAME/`. Objects cannot be appended to, so the journal is a sequence of
objects `journal/OFFSET.jsonl` that are written once; OFFSET is the number of bytes before it. `driver.json` is written
again every few seconds while the driver works, and removed at its end. `leaderboard.json` is sent last: with it, the
run is finished and complete.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from quorate.json_text import json_text
from quorate.runs.errors import RunError
from quorate.runs.folder import BOARD
from quorate.store import StoreUnavailable
from quorate.store.bucket_files import BucketFiles
from quorate.store.lease_record import this_process
from quorate.tracking import journal

DRIVER = "driver.json"
SEGMENTS = "journal"
DESTINATION = ".destination"
"""In a working folder, the file with the address that its run is sent to."""

BEAT = 10.0
"""Seconds between two writes of `driver.json`: an assumption."""

SILENT = 6 * BEAT
"""Seconds after which a driver whose `driver.json` is not written counts as ended: an assumption."""

_LONGEST_PAUSE = 60.0
"""Most seconds between two sendings. They begin with `BEAT` and grow with the age of the job, so that a job of a day
makes some 1,500 journal objects. An assumption."""

_LARGEST_SEGMENT = 8 << 20
"""Bytes of a journal object, unless one line is longer: an assumption."""

_AT_ONCE = 8
"""Files that are sent at the same time, because a request takes tens of milliseconds: an assumption."""

_ON_THIS_MACHINE = {journal.NAME, "shipper.lock"}
"""Files that are not sent, or not as they are."""

Stamp = tuple[int, int]


class RunUpload:
    """Sends the files of one run folder that have changed. Methods raise `StoreUnavailable`; all may be repeated."""

    def __init__(self, folder: Path, runs: BucketFiles) -> None:
        self._folder, self._runs, self._name = folder, runs, folder.name
        self._sent: dict[str, Stamp] = {}
        self._offset: int | None = None
        self.is_complete = False
        """Whether all files are in the bucket."""
        self._driver = json_text(asdict(this_process()), indent=None).encode()

    @property
    def address(self) -> str:
        return f"{self._runs.address}/{self._name}"

    def claim(self) -> bool:
        """Take the name of the run in the bucket; return whether no other driver has it."""
        if not self._runs.create(self._at(DRIVER), self._driver):
            return False
        (self._folder / DESTINATION).write_text(self._runs.address)
        return True

    def beat(self) -> None:
        """Show that the driver works."""
        self._runs.put(self._at(DRIVER), self._driver)

    def send(self) -> None:
        """Send what has changed, except the leaderboard."""
        self._send_journal()
        changed = {name: stamp for name, stamp in files_of(self._folder) if self._sent.get(name) != stamp}
        changed.pop(BOARD, None)
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(self._send_file, changed, changed.values()))

    def publish(self) -> None:
        """Send everything. After that the run has ended, and is finished if it has a leaderboard."""
        if (self._folder / journal.NAME).is_file() and journal.is_written(self._folder / journal.NAME):
            raise RunError(f"{self._name} is running; its job sends it when it ends")
        self.send()
        self._runs.remove([self._at(DRIVER)])
        with contextlib.suppress(FileNotFoundError):
            self._send_file(BOARD, stamp_of(self._folder / BOARD))
        self.is_complete = True

    def _send_file(self, name: str, stamp: Stamp) -> None:
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            self._runs.upload(self._folder / name, self._at(name))
            self._sent[name] = stamp

    def _send_journal(self) -> None:
        """Send the complete new lines."""
        path = self._folder / journal.NAME
        if not path.is_file():
            return
        if self._offset is None:
            self._offset = sum(file.size for file in self._runs.files(self._at(SEGMENTS)))
        with path.open("rb") as file:
            file.seek(self._offset)
            while True:
                content = file.read(_LARGEST_SEGMENT)
                content += b"" if content.endswith(b"\n") else file.readline()
                content = content[: content.rfind(b"\n") + 1]
                if not content:
                    return
                self._offset += self._put_segment(content, self._offset)
                file.seek(self._offset)

    def _put_segment(self, content: bytes, offset: int) -> int:
        """Write a segment; return the length of the one that is in the bucket then.

        It is shorter if an earlier write of this segment took effect without an answer.
        """
        name = self._at(f"{SEGMENTS}/{offset:012d}.jsonl")
        if self._runs.create(name, content):
            return len(content)
        present = self._runs.read(name)
        if present and content.startswith(present):
            return len(present)
        raise RunError(f"{self._runs.address}/{name} is not a part of the journal of {self._folder}; keep one of them")

    def _at(self, name: str) -> str:
        return f"{self._name}/{name}"


@contextlib.contextmanager
def sending(upload: RunUpload, say: Callable[[str], None]) -> Iterator[None]:
    """Send a run while its job runs in this context, and the rest at the end.

    An outage during the job is reported once with `say`, and its changes are sent later. Raises `StoreUnavailable` if
    the first files cannot be sent, and if the last ones cannot after a job that did not fail.
    """
    upload.send()
    over = threading.Event()
    thread = threading.Thread(target=_keep_sending, args=(upload, over, say), name="upload", daemon=True)
    thread.start()

    def stop() -> None:
        over.set()
        thread.join()

    try:
        yield
    except BaseException:
        stop()
        try:
            upload.publish()
        except (StoreUnavailable, RunError) as error:
            say(f"the run is not complete in the bucket: {error}")
        raise
    stop()
    upload.publish()


def _keep_sending(upload: RunUpload, over: threading.Event, say: Callable[[str], None]) -> None:
    begun = sent = time.monotonic()
    away = False
    while not over.wait(BEAT):
        now = time.monotonic()
        try:
            upload.beat()
            if now - sent >= min(_LONGEST_PAUSE, (now - begun) / 100):
                upload.send()
                sent = now
            away = False
        except (StoreUnavailable, RunError) as error:
            if not away:
                say(f"{error}; the job goes on, and its run is sent when the bucket is there again")
            away = True


def files_of(folder: Path) -> Iterator[tuple[str, Stamp]]:
    """The files to send, by name, without partial files."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(root) / name
            relative = path.relative_to(folder).as_posix()
            if relative in _ON_THIS_MACHINE or name.startswith("."):
                continue
            with contextlib.suppress(FileNotFoundError):
                yield relative, stamp_of(path)


def stamp_of(path: Path) -> Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
