"""Signals to a command whose task does not stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from quorate.execution import interrupt
from quorate.execution.interrupt import StopRequest


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class DeafSession:
    """A session whose task does not stop."""

    def stop(self, within: float | None = None) -> None: ...


def test_a_command_that_cannot_stop_its_task_says_so_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, codes = threading.Event(), list[int]()

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(interrupt.os, "_exit", end)
    monkeypatch.setattr(interrupt, "_GRACE_SECONDS", 0.05)
    stop = StopRequest()
    stop.install()
    stop.attach(DeafSession())  # type: ignore[arg-type]

    signal.raise_signal(signal.SIGINT)

    assert ended.wait(10) and codes == [130]
    assert capsys.readouterr().err == (
        "interrupted (SIGINT); a task did not stop within 0.05 s and was given up; finished tasks and checkpoints are "
        "kept; run the same command to continue\n"
    )
