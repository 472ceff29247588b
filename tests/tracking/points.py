"""The metric points of a run: those of its journal, and those in the database of an MLflow server."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

from quorate.tracking.journal import NAME, header, records
from quorate.tracking.records import MetricsRecord

Points = Counter[tuple[str, str, int]]
"""How often there is a value of (run, metric, step)."""


def points_of_journal(run: Path) -> Points:
    """The points that a job has written, in its run folder."""
    found: Points = Counter()
    for record in records(run / NAME):
        if isinstance(record, MetricsRecord):
            found.update((record.uid, key, record.step) for key in record.values)
    return found


def points_of_server(database: Path, run: Path) -> Points:
    """The points of the same job in the SQLite database of a server."""
    head = header(run / NAME)
    assert head is not None
    with sqlite3.connect(database, timeout=60) as connection:
        rows = connection.execute(
            "select uid.value, metrics.key, metrics.step from metrics"
            " join tags uid on uid.run_uuid = metrics.run_uuid and uid.key = 'quorate.uid'"
            " join tags job on job.run_uuid = metrics.run_uuid and job.key = 'quorate.run' and job.value = ?",
            (head.run,),
        )
        return Counter((uid, key, int(step)) for uid, key, step in rows)
