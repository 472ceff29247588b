"""The attempts at tasks in the journal: each with its worker, its times and how it ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tiny import plan_of

from quorate.execution.events import Failed, OutOfTime, Reported, Started
from quorate.job.attempt_log import AttemptLog
from quorate.plan.tasks import FitTask, PredictTask
from quorate.tracking.journal import Journal
from quorate.tracking.timeline import attempts, write_timeline


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time in seconds, in a list that the test changes."""
    seconds = [100]
    monkeypatch.setattr("quorate.job.attempt_log.now_ms", lambda: seconds[0] * 1000)
    return seconds


@pytest.fixture
def task() -> FitTask:
    return plan_of("{svm: {kind: svm}}").tasks[0]


def test_a_lost_attempt_and_its_repetition_are_two_records(journal: Journal, clock: list[int], task: FitTask) -> None:
    log = AttemptLog(journal)

    log.on(Started(task, 1, "a:1"))
    clock[0] = 103
    log.on(Failed(task, 1, "lost", "the worker died", final=False))
    clock[0] = 104
    log.on(Started(task, 2, "b:2", restored=True, epochs=3))
    clock[0] = 110
    log.on(OutOfTime(task, True, "it was too slow"))

    found = [(one.task, one.attempt, one.host, one.start_ms, one.end_ms, one.outcome) for one in attempts(journal.path)]
    assert found == [
        (task.title, 1, "a", 100_000, 103_000, "lost"),
        (task.title, 2, "b", 104_000, 110_000, "out of time"),
    ]


def test_an_attempt_that_moves_to_another_node_ends_with_its_newest_event(
    journal: Journal, clock: list[int], task: FitTask
) -> None:
    log = AttemptLog(journal)

    log.on(Started(task, 1, "a:1"))
    clock[0] = 105
    log.on(Reported(task, 1, {}))
    clock[0] = 130  # its node was drained meanwhile
    log.on(Started(task, 1, "b:2"))
    log.on(OutOfTime(task, True, "it was too slow"))

    (first, _) = attempts(journal.path)
    assert (first.end_ms, first.outcome) == (105_000, "stopped")


def test_a_task_that_never_started_is_no_attempt(journal: Journal, task: FitTask) -> None:
    AttemptLog(journal).on(OutOfTime(task, False, "there was no time for it"))

    assert attempts(journal.path) == []


def test_a_task_waits_from_its_submission_and_again_after_a_loss(
    journal: Journal, clock: list[int], task: FitTask
) -> None:
    log = AttemptLog(journal)
    prediction = PredictTask("prediction", task)

    log.queued([task, prediction])
    clock[0] = 103
    log.on(Started(task, 1, "a:1"))
    clock[0] = 110
    log.on(Failed(task, 1, "lost", "the worker died", final=False))
    clock[0] = 117
    log.on(Started(task, 2, "b:2"))
    clock[0] = 120
    log.on(OutOfTime(task, True, "it was too slow"))
    log.on(Started(prediction, 1, "b:2"))
    log.on(OutOfTime(prediction, True, "it was too slow"))

    assert [one.start_ms - (one.queued_ms or 0) for one in attempts(journal.path)] == [3_000, 7_000, 20_000]
    assert log.summary() == {
        "quorate.attempts": "3",
        "quorate.lost_attempts": "1",
        "quorate.hosts": "2",
        "quorate.queue_seconds_median": "5.0",
        "quorate.queue_seconds_longest": "7.0",
    }


def test_the_table_of_attempts_has_their_hosts_and_their_durations_in_seconds(
    journal: Journal, clock: list[int], task: FitTask
) -> None:
    log = AttemptLog(journal)
    log.queued([task])
    clock[0] = 101
    log.on(Started(task, 1, "10.0.0.2:77", restored=True))
    clock[0] = 103
    log.on(Reported(task, 1, {}))

    log.close()  # the job ends while it runs

    table = write_timeline(journal.path.parent, log.ended)
    assert table == journal.path.with_name("timeline.csv")
    assert table.read_text() == (
        "task,attempt,host,process,start,seconds,waited_seconds,outcome,restored\n"
        f"{task.title},1,10.0.0.2,77,1970-01-01T00:01:41.000+00:00,2.000,1.000,stopped,true\n"
    )
