"""Read the records of a journal as they are written, on this machine or in a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from quorate.runs.copy import JUST_JOURNAL
from quorate.runs.lookup import find_journal
from quorate.tracking import journal
from quorate.tracking.records import Record


class JournalReader:
    """Reads what has come to the journal of a run since the last call."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._offset = 0

    def new_records(self) -> Iterator[Record]:
        """The new records; raises `RunError` if there is no such run."""
        path = self._path()
        while True:
            records, end = journal.read(path, self._offset)
            if end == self._offset:
                return
            self._offset = end
            yield from records

    def _path(self) -> Path:
        return find_journal(self.address, JUST_JOURNAL).path / journal.NAME
