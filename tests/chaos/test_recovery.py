"""Recovery is read from journals and logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.recovery import GivenFault, JobTimes, has_epochs, repeated_epochs, running
from tests.chaos.schedule import PlannedFault

from quorate.tracking.journal import Journal
from quorate.tracking.records import AttemptRecord

DAY = 86_400_000
NOW = 1_800_000_000_000


def begin(journal: Journal) -> None:
    tags = {"quorate.level": "fold", "quorate.key": "k"}
    journal.run("job", name="job", parent=None, tags={"quorate.level": "job"}, params={}, start_ms=NOW)
    journal.run("job/cnn/0", name="cnn fold 1", parent="job", tags=tags, params={"epochs": 9}, start_ms=NOW)


def attempt(number: int, start: int, end: int, outcome: str) -> AttemptRecord:
    return AttemptRecord("cnn fold 1", number, f"h:{number}", NOW + start, NOW + end, outcome)  # type: ignore[arg-type]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A task whose worker dies 5 s after the start, and that goes on elsewhere; its clock is moved by a day then."""
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        begin(journal)
        journal.metrics("job/cnn/0", 1, {}, NOW + 4_900)
        journal.metrics("job/cnn/0", 2, {}, NOW + 5_010)  # it was on its way
        journal.attempt(attempt(1, 1_000, 5_020, "lost"))
        journal.metrics("job/cnn/0", 3, {}, NOW + 8_500 - DAY)
        journal.attempt(attempt(2, 8_000 - DAY, 9_000 - DAY, "fitted"))
    return path


def given(name: str) -> GivenFault:
    return GivenFault(PlannedFault(1, name, 0, 0), NOW / 1000 + 5, ("cnn fold 1",))


def test_the_recovery_of_a_task_lasts_until_the_first_epoch_of_its_new_attempt(journal: Path) -> None:
    times = JobTimes([journal], NOW / 1000, NOW / 1000 + 20)

    (found,) = times.recoveries(given("worker killed"))

    assert (found.seconds, found.restart_seconds) == (3.5, 3.0)
    assert times.use() == (8.0, 8.0)


def test_a_task_that_no_fault_has_ended_recovers_with_its_next_epoch(journal: Path) -> None:
    early = GivenFault(given("host cut off").planned, NOW / 1000 + 1.5, ("cnn fold 1",))

    (found,) = JobTimes([journal], NOW / 1000, NOW / 1000 + 20).recoveries(early)

    assert (found.seconds, found.restart_seconds) == (3.4, None), "not the attempt after a later fault"


def test_a_task_that_ended_before_it_noticed_a_fault_does_not_recover(journal: Path) -> None:
    late = GivenFault(given("worker killed").planned, NOW / 1000 + 8.9, ("cnn fold 1",))

    assert JobTimes([journal], NOW / 1000, NOW / 1000 + 20).recoveries(late) == []


def test_the_tasks_that_run_are_known_with_their_workers(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        begin(journal)
        assert running(journal.path) == {} and not has_epochs(journal.path)
        journal.tags("job/cnn/0", {"quorate.host": "10.0.0.2", "quorate.worker_process": "17"})
        journal.metrics("job/cnn/0", 1, {})
        assert running(journal.path) == {"cnn fold 1": "10.0.0.2:17"} and has_epochs(journal.path)
        journal.attempt(AttemptRecord("cnn fold 1", 1, "10.0.0.2:17", NOW, NOW, "lost"))
        assert running(journal.path) == {}


def test_epochs_that_were_trained_twice_are_counted_for_each_attempt(tmp_path: Path) -> None:
    runs = [tmp_path / "first", tmp_path / "second"]
    for run, text in zip(
        runs,
        [
            "10:00:00 attempt 1 on h:1\n10:00:01 epoch 1: x\n10:00:02 epoch 2: x\n10:00:03 attempt 1 lost: why\n"
            "10:00:04 attempt 2 on h:2, from a checkpoint\n10:00:05 epoch 2: x\n10:00:06 epoch 3: x\n",
            "10:00:09 attempt 1 on h:3, from a checkpoint\n10:00:10 epoch 4: x\n",
        ],
        strict=True,
    ):
        (run / "logs").mkdir(parents=True)
        (run / "logs/cnn.fold1.log").write_text(text)

    assert repeated_epochs(runs) == {"cnn.fold1": [1, 0]}
