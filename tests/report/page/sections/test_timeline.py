"""The timeline of a job: lanes of attempts, and a time axis with shortened pauses."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from quorate.report.page.sections.timeline import busy_times, lanes_of, section
from quorate.tracking.records import AttemptRecord, Outcome


def attempt(
    task: str, start: float, end: float, *, host: str = "a", outcome: Outcome = "fitted", number: int = 1
) -> AttemptRecord:
    """An attempt on the process 1 of a host, with times in seconds."""
    return AttemptRecord(task, number, f"{host}:1", int(1000 * start), int(1000 * end), outcome)


def test_attempts_that_overlap_are_in_different_lanes_and_hosts_share_none() -> None:
    one, two, three = attempt("one", 0, 4), attempt("two", 1, 2), attempt("three", 2, 5)
    other = attempt("other", 0, 1, host="b")

    lanes = [(lane.host, list(lane.attempts)) for lane in lanes_of([three, other, two, one])]

    assert lanes == [("b", [other]), ("a", [one]), ("a", [two, three])]


def test_busy_times_are_the_union_of_the_attempts() -> None:
    found = busy_times([attempt("c", 9, 10), attempt("a", 0, 4), attempt("b", 2, 6)])

    assert found == [(0, 6000), (9000, 10_000)]


def test_the_remarks_count_what_was_lost_and_the_share_of_busy_time() -> None:
    attempts = [attempt("cnn fold 1", 0, 10), attempt("cnn fold 2", 0, 4, host="b", outcome="lost")]
    attempts.append(attempt("cnn fold 2", 4, 10, number=2))

    made = section_of(attempts)

    said = [remark.sentence for remark in made.remarks]
    assert "3 attempts on 2 hosts in 3 lanes; the lanes were busy for 67 % of the time." in said  # 20 of 3 x 10 s
    assert any("1 attempt was lost with its worker, after 4 s in all: cnn fold 2" in one for one in said)


def test_an_attempt_that_ends_before_it_begins_because_the_clock_was_set_back_is_drawn_without_length() -> None:
    made = section_of([attempt("cnn fold 1", 86_400, 3), attempt("cnn fold 2", 4, 10)])

    assert "cnn fold 1: fitted after 0 s" in str(made.values["chart"].drawing)


def test_a_long_pause_is_shortened_and_the_time_starts_again() -> None:
    made = section_of([attempt("cnn fold 1", 0, 60), attempt("cnn fold 2", 7200, 7260)])

    drawn = str(made.values["chart"].drawing)
    assert "2.0 h after the start" in drawn
    found = re.findall(r'<rect [^>]*x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawn)
    bars = [(float(x), float(width)) for x, width in found]
    (left, width), (other, same) = bars
    assert abs(width - same) < 0.2, "both took a minute"
    assert 0 < other - (left + width) < 0.15 * width


def test_a_run_of_an_earlier_version_has_no_section() -> None:
    assert section(run_with([])) is None


def section_of(attempts: list[AttemptRecord]) -> Any:
    made = section(run_with(attempts))
    assert made is not None
    return made


def run_with(attempts: list[AttemptRecord]) -> Any:
    return SimpleNamespace(attempts=attempts)
