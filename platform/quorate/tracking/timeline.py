"""Read who ran which task, and when, from the journal of a run."""

from __future__ import annotations

from pathlib import Path

from quorate.tracking.journal import records
from quorate.tracking.records import AttemptRecord


def attempts(path: Path) -> list[AttemptRecord]:
    """The attempts at tasks, by their start; raises `JournalError`. Journals of earlier versions have none."""
    found = [record for record in records(path) if isinstance(record, AttemptRecord)]
    return sorted(found, key=lambda attempt: attempt.start_ms)
