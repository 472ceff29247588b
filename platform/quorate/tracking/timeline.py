"""Which worker ran which task, and when: read from the journal of a run, and written as a table."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from quorate.tracking.journal import records
from quorate.tracking.records import AttemptRecord

TABLE = "timeline.csv"
"""The file of a run folder with the attempts at tasks."""
_COLUMNS = ("task", "attempt", "host", "process", "start", "seconds", "waited_seconds", "outcome", "restored")


def attempts(path: Path) -> list[AttemptRecord]:
    """The attempts at tasks, by their start; raises `JournalError`. Journals of earlier versions have none."""
    return _by_start(record for record in records(path) if isinstance(record, AttemptRecord))


def write_timeline(folder: Path, found: Iterable[AttemptRecord]) -> Path:
    """Write attempts as `timeline.csv` in a run folder, by their start: times in UTC, durations in seconds.

    Returns the path of the table. Raises `OSError`.
    """
    path = folder / TABLE
    partial = path.with_name(f".{TABLE}.{os.getpid()}")
    with partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows(map(_row, _by_start(found)))
    partial.replace(path)
    return path


def _by_start(found: Iterable[AttemptRecord]) -> list[AttemptRecord]:
    return sorted(found, key=lambda attempt: attempt.start_ms)


def _row(attempt: AttemptRecord) -> tuple[object, ...]:
    start = datetime.fromtimestamp(attempt.start_ms / 1000, UTC).isoformat(timespec="milliseconds")
    waited = "" if attempt.queued_ms is None else f"{(attempt.start_ms - attempt.queued_ms) / 1000:.3f}"
    seconds, restored = f"{(attempt.end_ms - attempt.start_ms) / 1000:.3f}", "true" if attempt.restored else "false"
    where = (attempt.host, attempt.process)
    return (attempt.task, attempt.attempt, *where, start, seconds, waited, attempt.outcome, restored)
