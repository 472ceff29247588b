"""Write and read the journal of a job: a local, append-only file with records for MLflow, which needs no server."""

from __future__ import annotations

import fcntl
import getpass
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from quorate.tracking.codec import parse, serialize
from quorate.tracking.job_clock import now_ms
from quorate.tracking.records import (
    VERSION,
    ArtifactRecord,
    AttemptRecord,
    CloseRecord,
    Context,
    DatasetRecord,
    EndRecord,
    HeaderRecord,
    MetricsRecord,
    ModelRecord,
    RankingRecord,
    Record,
    RunRecord,
    Status,
    TagsRecord,
)

NAME = "journal.jsonl"
SOURCE = "quorate"
"""The program that writes journals, which MLflow shows as the source of a run."""
CHUNK = 1 << 18
"""Maximum number of bytes per `read`, unless a single line is longer (an assumption)."""

log = logging.getLogger(__name__)


class Journal:
    """The writer of a journal: one JSON object per line, each line written by one system call.

    A `uid` is the caller's stable name of a run (`job`, `job/cnn`, `job/cnn/3`). The start of a run is written before
    its other records, and the start of a parent before its children. An existing file is continued, even if a crash cut
    its last line. Methods may be called from any thread. If the disk cannot be written, records are lost and counted in
    `lost`; the job continues.
    """

    def __init__(self, path: Path, *, experiment: str = "quorate") -> None:
        self.path = path
        self.lost = 0
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._torn = _is_torn(path)
        found = header(path) if path.exists() else None
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        _lock(self._file)
        if found is None:
            self._append(HeaderRecord(VERSION, uuid.uuid4().hex, experiment, _user(), SOURCE))

    def run(
        self,
        uid: str,
        *,
        name: str,
        parent: str | None,
        tags: Mapping[str, str],
        params: Mapping[str, object],
        start_ms: int,
    ) -> None:
        """Start a run, or continue it if the journal already contains its `uid` from before a restart."""
        text = {key: str(value) for key, value in params.items()}
        self._append(RunRecord(uid, name, parent, tags, text, start_ms))

    def metrics(self, uid: str, step: int, values: Mapping[str, float], timestamp_ms: int | None = None) -> None:
        """Add metrics of one step (an epoch); NaN and infinities are kept."""
        time_ms = now_ms() if timestamp_ms is None else timestamp_ms
        self._append(MetricsRecord(uid, step, _floats(values), time_ms))

    def tags(self, uid: str, tags: Mapping[str, str]) -> None:
        """Add tags after the start of a run; the last value of a key counts."""
        self._append(TagsRecord(uid, tags))

    def artifact(self, uid: str, path: Path, folder: str = "") -> None:
        """Add a finished file, or a folder with its contents, to the `folder` of the run's artifacts."""
        self._append(ArtifactRecord(uid, self._from_here(path), folder))

    def dataset(
        self,
        uid: str,
        *,
        name: str,
        source: str,
        digest: str,
        profile: Mapping[str, object],
        context: Context,
        signature: Mapping[str, object] | None = None,
    ) -> None:
        """Add the data that a run used; `digest` identifies its content (MLflow keeps 36 characters of it).

        `signature` is the type of one row, as `quorate.data.signature` writes it.
        """
        self._append(DatasetRecord(uid, name, source, digest, profile, context, signature))

    def model(
        self,
        uid: str,
        *,
        bundle: Path,
        name: str,
        run: str = "",
        note: str = "",
        metrics: Mapping[str, float] | None = None,
        pictures: Sequence[Path] = (),
    ) -> None:
        """Add a finished bundle, to log as a model and to register under `name`.

        The page of the version shows the name `run` of the run folder, the Markdown text `note`, metrics of the run,
        and pictures from its folder `plots`.
        """
        shown = tuple(self._from_here(path) for path in pictures)
        self._append(ModelRecord(uid, self._from_here(bundle), name, run, note, _floats(metrics or {}), shown))

    def ranking(self, uid: str, *, run: str, searched: Sequence[str] = (), metric: str = "oof_nll") -> None:
        """Add an MLflow view that lists the members of the run folder `run`, or its trials with the values of these
        `searched` parameters, the best one first."""
        self._append(RankingRecord(uid, run, tuple(searched), metric))

    def end(self, uid: str, status: Status, end_ms: int) -> None:
        self._append(EndRecord(uid, status, end_ms))

    def attempt(self, record: AttemptRecord) -> None:
        """Add an attempt at a task that has ended."""
        self._append(record)

    def close(self) -> None:
        """Write the last record, after which the shipper ends; a second call does nothing."""
        if self._file is None:
            return
        self._append(CloseRecord())
        with self._lock:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _from_here(self, path: Path) -> str:
        """The path relative to the journal's folder, so that the folder can be moved; absolute if it is outside that
        folder."""
        folder, path = self.path.parent.resolve(), path.resolve()
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

    def _append(self, record: Record) -> None:
        line = serialize(record)
        with self._lock:
            assert self._file is not None, "the journal is closed"
            data = b"\n" + line if self._torn else line
            try:
                written = os.write(self._file, data)
            except OSError as error:
                self._lose(str(error))
                return
            self._torn = written < len(data)
            if self._torn:
                self._lose(f"{written} of {len(data)} bytes written")

    def _lose(self, reason: str) -> None:
        if self.lost == 0:
            log.warning("cannot write %s (%s): records for MLflow are lost", self.path, reason)
        self.lost += 1


def read(path: Path, offset: int) -> tuple[list[Record], int]:
    """Read about `CHUNK` bytes of complete records from byte `offset` on; returns them and the offset after them.

    A last line without a line feed is left for later. A line that a crash cut short is skipped. Raises `JournalError`.
    """
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(CHUNK)
        if b"\n" not in data:
            data += file.readline()
    whole = data[: data.rfind(b"\n") + 1]
    parsed = (parse(line, path) for line in whole.splitlines())
    return [record for record in parsed if record is not None], offset + len(whole)


def records(path: Path) -> Iterator[Record]:
    """All records of a journal, read chunk by chunk; raises `JournalError`."""
    offset = 0
    while True:
        found, end = read(path, offset)
        if end == offset:
            return
        yield from found
        offset = end


def header(path: Path) -> HeaderRecord | None:
    """The first record of a journal, or None if it has not been written completely; raises `JournalError`."""
    found, _ = read(path, 0)
    return next((record for record in found if isinstance(record, HeaderRecord)), None)


def count(path: Path, offset: int) -> int:
    """The number of complete records after byte `offset`."""
    total = 0
    while path.exists():
        records, end = read(path, offset)
        if end == offset:
            break
        total, offset = total + len(records), end
    return total


def is_closed(path: Path) -> bool:
    """Whether the last complete record is the `CloseRecord`."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        tail = file.read().splitlines(keepends=True)
    last = parse(tail[-1], path) if tail and tail[-1].endswith(b"\n") else None
    return isinstance(last, CloseRecord)


def is_written(path: Path) -> bool | None:
    """Whether a process is writing the journal; None if the file system has no locks."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
    return False


def end_of(path: Path, uid: str) -> Status | None:
    """The status of the run `uid` in the last records of a journal; None if it has not ended. Raises `JournalError`."""
    ends = [record.status for record in tail(path) if isinstance(record, EndRecord) and record.uid == uid]
    return ends[-1] if ends else None


def tail(path: Path) -> list[Record]:
    """The last records, at most `CHUNK` bytes of them; raises `JournalError`."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - CHUNK))
        return [record for line in file.read().splitlines() if (record := parse(line, path)) is not None]


def _lock(file: int) -> None:
    """Lock the file until it is closed, for `is_written`; does nothing if another writer has the lock."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # `is_written` holds the lock for a moment
            time.sleep(0.005)
        except OSError:  # a file system without locks
            return
        else:
            return


def _is_torn(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _floats(values: Mapping[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in values.items()}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run with a user id that has no name
        return str(os.getuid())
