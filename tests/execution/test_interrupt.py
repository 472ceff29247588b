"""Signals to a command whose task does not stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from quorate.errors import Interrupted
from quorate.execution import interrupt
from quorate.execution.interrupt import StopRequest


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
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


@pytest.mark.parametrize("with_nohup", [False, True])
def test_a_closed_terminal_stops_a_command_unless_it_was_started_with_nohup(
    with_nohup: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupt, "_GRACE_SECONDS", 1e6)  # or the process of the tests ends
    signal.signal(signal.SIGHUP, signal.SIG_IGN if with_nohup else signal.SIG_DFL)
    stop = StopRequest()
    stop.install()
    stop.install()  # after Ray

    if with_nohup:
        signal.raise_signal(signal.SIGHUP)
        assert not stop.requested
    else:
        with pytest.raises(Interrupted) as interrupted:
            signal.raise_signal(signal.SIGHUP)
        assert interrupted.value.signum == signal.SIGHUP
