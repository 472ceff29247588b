"""The clock of a job's records follows the time of day, and does not move with it."""

from __future__ import annotations

import time

import pytest

from quorate.tracking.job_clock import now_ms


def test_it_is_the_time_of_day() -> None:
    assert abs(now_ms() - time.time() * 1000) < 60_000


def test_it_goes_on_if_the_time_of_day_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = now_ms()
    day_ago = time.time_ns() - 86_400 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: day_ago)
    monkeypatch.setattr(time, "time", lambda: day_ago / 1e9)

    time.sleep(0.01)

    assert before < now_ms() < before + 60_000
