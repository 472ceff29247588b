"""The state of a job for `quorate top`, from the records of its journal."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest
from rich.console import Console

from quorate.report.job_state import JobState
from quorate.report.top import picture
from quorate.tracking.records import AttemptRecord, EndRecord, MetricsRecord, Record, RunRecord, TagsRecord

JOB = RunRecord("job", "demo", None, {"quorate.level": "job"}, {"members": "2", "folds": "2"}, 0)


def fold(uid: str, name: str, start_s: float, **tags: str) -> RunRecord:
    return RunRecord(uid, name, "job", {"quorate.level": "fold", **tags}, {"epochs": "8"}, int(1000 * start_s))


def on(uid: str, host: str, attempt: int = 1) -> TagsRecord:
    return TagsRecord(uid, {"quorate.host": host, "quorate.worker_process": "7", "quorate.attempt": str(attempt)})


def attempt(task: str, host: str, start_s: float, end_s: float, **rest: object) -> AttemptRecord:
    given = {"attempt": 1, "outcome": "fitted", **rest}
    return AttemptRecord(task, worker=f"{host}:7", start_ms=int(1000 * start_s), end_ms=int(1000 * end_s), **given)  # type: ignore[arg-type]


RECORDS: list[Record] = [
    JOB,
    fold("job/svm/0", "svm fold 1", 0, **{"quorate.reused": "true"}),
    EndRecord("job/svm/0", "FINISHED", 0),
    fold("job/svm/1", "svm fold 2", 0),
    on("job/svm/1", "10.0.0.1"),
    fold("job/cnn/0", "cnn fold 1", 0),
    on("job/cnn/0", "10.0.0.2"),
    MetricsRecord("job/cnn/0", 3, {"valid_loss": 0.5}, 10_000),
    attempt("cnn fold 1", "10.0.0.2", 0, 15, outcome="lost"),
    attempt("svm fold 2", "10.0.0.1", 0, 20),
    EndRecord("job/svm/1", "FINISHED", 20_000),
    on("job/cnn/0", "10.0.0.1", attempt=2),
    MetricsRecord("job/cnn/0", 4, {"valid_loss": 0.25}, 25_000),
]


def state_after(records: Iterable[Record]) -> JobState:
    state = JobState()
    for record in records:
        state.on(record)
    return state


def test_tasks_are_counted_and_the_hosts_show_what_they_lost() -> None:
    figures = state_after(RECORDS).figures(30_000)

    assert (figures.done, figures.reused, figures.waiting, figures.total) == (2, 1, 1, 4)
    (task,) = figures.running
    assert (task.name, task.host, task.attempt, task.epoch, task.epochs, task.loss) == (
        "cnn fold 1", "10.0.0.1", 2, 4, 8, 0.25,
    )  # fmt: skip
    hosts = {name: (one.running, one.ended, one.problems, one.seconds) for name, one in figures.hosts.items()}
    assert hosts == {"10.0.0.1": (1, 1, 0, 20.0), "10.0.0.2": (0, 0, 1, 15.0)}


def test_the_rate_is_that_of_the_last_minute_and_the_time_left_of_the_tasks_that_ended() -> None:
    state = state_after(RECORDS)

    assert state.figures(30_000).epochs_per_second == pytest.approx(2 / 60)
    assert state.figures(80_000).epochs_per_second == pytest.approx(1 / 60)
    # the only duration is 20 s; the running task has used more than that, and one task waits for its place
    assert state.figures(30_000).seconds_left == pytest.approx(20.0)


def test_a_job_that_starts_again_counts_from_the_beginning() -> None:
    again = [*RECORDS, JOB, fold("job/svm/0", "svm fold 1", 90, **{"quorate.reused": "true"})]

    figures = state_after(again).figures(90_000)

    assert (figures.done, figures.running, figures.waiting) == (0, [], 4)


def test_the_picture_names_the_running_tasks_and_how_many_are_not_shown() -> None:
    many = [fold(f"job/m/{number}", f"m fold {number}", number) for number in range(20)]
    shown = Console(file=io.StringIO(), width=120)

    shown.print(picture("demo-1", state_after([JOB, *many]).figures(30_000), 30_000, height=12))

    assert isinstance(shown.file, io.StringIO)
    said = shown.file.getvalue()
    assert "demo-1: running; 0 of 4 fit tasks done; 20 running" in said
    assert "m fold 0 " in said and "m fold 19" not in said
    assert "and 15 more" in said
