"""A local, append-only journal of what MLflow shall hold; writing it never waits for a server."""

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
from quorate.tracking.records import (
    VERSION,
    ArtifactRecord,
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
CHUNK = 1 << 18
"""Bytes that one `read` takes at most, unless a single line is longer."""

log = logging.getLogger(__name__)


class Journal:
    """The records of one job, one JSON object a line, each written whole by one system call.

    A `uid` is the caller's own stable name of a run ("job", "job/cnn", "job/cnn/0/3"); a run is
    named before anything is written about it, a parent before its children. An existing file is
    continued, whatever a crash left at its end. Methods may be called from any thread. A disk that
    cannot be written loses records (counted in `lost`) and stops nobody.
    """

    def __init__(self, path: Path, *, experiment: str = "quorate", source: str = "quorate") -> None:
        self.path = path
        self.lost = 0
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._torn = _is_torn(path)
        found = header(path) if path.exists() else None
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        _lock(self._file)
        if found is None:
            self._append(HeaderRecord(VERSION, uuid.uuid4().hex, experiment, _user(), source))

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
        """A run begins, or goes on where `uid` is known from before a restart."""
        text = {key: str(value) for key, value in params.items()}
        self._append(RunRecord(uid, name, parent, tags, text, start_ms))

    def metrics(self, uid: str, step: int, values: Mapping[str, float], timestamp_ms: int | None = None) -> None:
        """Values of one step (an epoch); NaN and infinities are kept."""
        time_ms = _now_ms() if timestamp_ms is None else timestamp_ms
        self._append(MetricsRecord(uid, step, _floats(values), time_ms))

    def tags(self, uid: str, tags: Mapping[str, str]) -> None:
        """Tags known only after the run's start; the last value of a key stays."""
        self._append(TagsRecord(uid, tags))

    def artifact(self, uid: str, path: Path, folder: str = "") -> None:
        """A finished file, or a folder with all that it holds, to appear under `folder` of the run."""
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
        """The data that a run used; `digest` names its content (MLflow keeps 36 characters of it).

        `signature` says what one row is, as `quorate.data.signature` writes it.
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
        """A finished bundle, to be logged as a model and registered under `name`.

        The version's page shows the name of the run folder, the Markdown text `note`, metrics of the run, and pictures
        that the run has below `plots`.
        """
        shown = tuple(self._from_here(path) for path in pictures)
        self._append(ModelRecord(uid, self._from_here(bundle), name, run, note, _floats(metrics or {}), shown))

    def ranking(self, uid: str, *, run: str) -> None:
        """The list of this run folder's members, the best one first, as a view that MLflow's pages offer."""
        self._append(RankingRecord(uid, run))

    def end(self, uid: str, status: Status, end_ms: int) -> None:
        self._append(EndRecord(uid, status, end_ms))

    def close(self) -> None:
        """Write the final record, after which the shipper ends; a second call does nothing."""
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
        """Relative to the journal's folder where it lies inside, so that a run folder may be moved."""
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
    """The whole records from byte `offset` on, about `CHUNK` bytes of them, and the offset behind them.

    A last line without its end is left for later; a line that a crash broke is passed over.
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
    """The first record of a journal, or None if it is not written completely; raises `JournalError`."""
    found, _ = read(path, 0)
    return next((record for record in found if isinstance(record, HeaderRecord)), None)


def count(path: Path, offset: int) -> int:
    """How many whole records lie behind byte `offset`."""
    total = 0
    while path.exists():
        records, end = read(path, offset)
        if end == offset:
            break
        total, offset = total + len(records), end
    return total


def is_closed(path: Path) -> bool:
    """Whether the last whole record is the final one."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        tail = file.read().splitlines(keepends=True)
    last = parse(tail[-1], path) if tail and tail[-1].endswith(b"\n") else None
    return isinstance(last, CloseRecord)


def is_written(path: Path) -> bool | None:
    """Whether a living process has the journal open; None where the file system cannot tell."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
    return False


def end_of(path: Path, uid: str) -> Status | None:
    """How the run `uid` has ended by the journal's last records; None where it has not."""
    ends = [record.status for record in tail(path) if isinstance(record, EndRecord) and record.uid == uid]
    return ends[-1] if ends else None


def tail(path: Path) -> list[Record]:
    """The last records, at most `CHUNK` bytes of them."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - CHUNK))
        return [record for line in file.read().splitlines() if (record := parse(line, path)) is not None]


def _lock(file: int) -> None:
    """Hold the file until it is closed, for `is_written`; one that another writer has is left to it."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # who asks `is_written` has it for an instant
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())
