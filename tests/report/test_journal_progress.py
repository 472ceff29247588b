"""The progress of a job as another process reads it from the journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from quorate.report.journal_progress import JournalProgress
from quorate.tracking.journal import Journal, records
from quorate.tracking.records import Status


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A job of two members and two folds: one fit reused, one finished, one running, one not started."""
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        begin(journal, "job", "job", {"members": 2, "folds": 2})
        for number, (name, reused) in enumerate([("svm fold 1", True), ("svm fold 2", False), ("cnn fold 1", False)]):
            begin(journal, f"job/{number}", "fold", {}, name, reused=reused)
        journal.end("job/0", "FINISHED", 1)
        journal.metrics("job/1", 1, {"valid_loss": 0.5, "valid_accuracy": 0.75})
        journal.end("job/1", "FINISHED", 1)
        journal.metrics("job/2", 3, {"valid_loss": 0.25})
    return path


def begin(
    journal: Journal, uid: str, level: str, params: dict[str, object], name: str = "", *, reused: bool = False
) -> None:
    tags = {"quorate.level": level} | ({"quorate.reused": "true"} if reused else {})
    journal.run(uid, name=name, parent=None, tags=tags, params=params, start_ms=1)


def test_tasks_that_end_have_a_line_and_running_ones_are_shown_with_their_epoch(path: Path) -> None:
    progress = JournalProgress()

    lines = [line for record in records(path) if (line := progress.on(record))]

    assert lines == ["[2/4] svm fold 2 fitted, epoch 1, validation loss 0.5000, accuracy 0.7500"]
    assert str(progress) == "2 of 4 fit tasks done (1 reused); cnn fold 1 epoch 3, validation loss 0.2500"
    assert progress.status is None


@pytest.mark.parametrize(
    ("status", "tags", "code"),
    [("FINISHED", {}, None), ("FAILED", {}, None), ("KILLED", {"quorate.exit_code": "143"}, 143)],
)
def test_the_end_of_the_job_is_known(path: Path, status: Status, tags: dict[str, str], code: int | None) -> None:
    with Journal(path) as journal:
        journal.tags("job", tags)
        journal.end("job", status, 2)
    progress = JournalProgress()

    for record in records(path):
        progress.on(record)

    assert (progress.status, progress.exit_code) == (status, code)
