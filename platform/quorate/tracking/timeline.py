"""Read who ran which task, and when, from the journal of a run, and write it as a table."""

from __future__ import annotations

import csv
import os
from datetime import UTC, datetime
from pathlib import Path

from quorate.tracking.journal import records
from quorate.tracking.records import AttemptRecord

TABLE = "timeline.csv"
"""The file of a run folder with the attempts at tasks."""
_COLUMNS = ("task", "attempt", "host", "process", "start", "seconds", "waited_seconds", "outcome", "restored")


def attempts(path: Path) -> list[AttemptRecord]:
    """The attempts at tasks, by their start; raises `JournalError`. Journals of earlier versions have none."""
    found = [record for record in records(path) if isinstance(record, AttemptRecord)]
    return sorted(found, key=lambda attempt: attempt.start_ms)


def write_timeline(journal: Path) -> Path | None:
    """Write the attempts of a journal as `timeline.csv` next to it: times in UTC, durations in seconds.

    Returns the path of the table; None if there are no attempts. Raises `OSError` and `JournalError`.
    """
    found = attempts(journal)
    if not found:
        return None
    path = journal.with_name(TABLE)
    partial = path.with_name(f".{TABLE}.{os.getpid()}")
    with partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows(map(_row, found))
    partial.replace(path)
    return path


def _row(attempt: AttemptRecord) -> tuple[object, ...]:
    start = datetime.fromtimestamp(attempt.start_ms / 1000, UTC).isoformat(timespec="milliseconds")
    waited = "" if attempt.queued_ms is None else f"{(attempt.start_ms - attempt.queued_ms) / 1000:.3f}"
    seconds, restored = f"{(attempt.end_ms - attempt.start_ms) / 1000:.3f}", "true" if attempt.restored else "false"
    where = (attempt.host, attempt.process)
    return (attempt.task, attempt.attempt, *where, start, seconds, waited, attempt.outcome, restored)
