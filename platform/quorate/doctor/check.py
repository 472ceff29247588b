"""A finding about this machine, and checks that run beside each other and are given up in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class CheckResult:
    """What was looked at, what was found, and for a problem what mends it."""

    what: str
    level: Level
    said: str
    mend: str = ""


Check = Callable[[], Iterable[CheckResult]]


def run_checks(checks: Iterable[Check], *, seconds: float) -> Iterator[CheckResult]:
    """The findings of all checks in their order; one that has not ended after `seconds` is a problem itself.

    Each has a daemon thread: a file system or a driver that hangs must not hang the command.
    """
    started = [(check, *_start(check)) for check in checks]
    deadline = time.monotonic() + seconds
    for check, thread, found in started:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            yield CheckResult(_name(check), "problem", f"no answer within {seconds:.0f} s", "look why it hangs")
        else:
            yield from found


def _start(check: Check) -> tuple[threading.Thread, list[CheckResult]]:
    found: list[CheckResult] = []

    def look() -> None:
        try:
            found.extend(check())
        except Exception as error:  # noqa: BLE001 - one check that cannot be made must not stop the others
            found.append(CheckResult(_name(check), "note", f"cannot be checked: {type(error).__name__}: {error}"))

    thread = threading.Thread(target=look, name=_name(check), daemon=True)
    thread.start()
    return thread, found


def _name(check: Check) -> str:
    return getattr(check, "__name__", "check").replace("_", " ")
