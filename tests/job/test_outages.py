"""A job waits while its store cannot be reached, and not for a disk that is full."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from functools import partial

import pytest

from quorate.execution.budget import Budget
from quorate.execution.interrupt import StopRequest
from quorate.job import outages
from quorate.job.outages import StoreOutages
from quorate.job.run import _is_over
from quorate.store import StoreRefused, StoreUnavailable

AWAY = StoreUnavailable(None, "the store is unavailable: it does not answer", "s3://bucket/x")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_PAUSE_SECONDS", 0.0)


def failing(*errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def action() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return action


def test_an_outage_is_reported_once_and_its_end_too() -> None:
    said: list[str] = []
    waiting = StoreOutages(said.append, stopping=lambda: False)

    assert waiting.call(failing(AWAY, AWAY, AWAY)) == "done"
    assert waiting.call(failing()) == "done"

    begin, end = said
    assert begin == (
        "s3://bucket/x: the store is unavailable: it does not answer. Training goes on, and the rest is done when "
        "the store answers again; the job waits for up to 10 min"
    )
    assert end.startswith("the store answers again after ")


def test_an_outage_that_lasts_too_long_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "MOST_SECONDS", -1.0)
    said: list[str] = []

    with pytest.raises(StoreUnavailable, match="it does not answer"):
        StoreOutages(said.append, stopping=lambda: False).call(failing(AWAY, AWAY))


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable(errno.ENOSPC, "no space is left on the disk", "/data/store/a"),
        StoreUnavailable(errno.EDQUOT, "the disk quota is used up", "/data/store/a"),
        StoreRefused(None, "access is denied", "s3://bucket/x"),
        RuntimeError("a bug"),
    ],
)
def test_what_does_not_pass_is_not_waited_for(error: Exception) -> None:
    said: list[str] = []

    with pytest.raises(type(error), match=str(error)):
        StoreOutages(said.append, stopping=lambda: False).call(failing(error))

    assert said == []


def test_a_job_does_not_wait_for_the_store_longer_than_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_PAUSE_SECONDS", 0.02)
    begun = time.monotonic()
    over = partial(_is_over, StopRequest(), Budget(0.3, begun))
    outage = StoreOutages(print, stopping=over)

    assert outage.call(failing(AWAY)) == "done"
    with pytest.raises(StoreUnavailable):
        outage.call(failing(*[AWAY] * 1000))

    assert 0.3 <= time.monotonic() - begun < 5
    assert not _is_over(StopRequest(), None), "without a budget only a stop ends the wait"


def test_a_job_that_is_stopped_does_not_wait_for_the_store() -> None:
    said: list[str] = []

    with pytest.raises(StoreUnavailable):
        StoreOutages(said.append, stopping=lambda: True).call(failing(AWAY))

    assert said == []
