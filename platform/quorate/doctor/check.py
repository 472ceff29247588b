"""The result of a check, and a runner that runs checks in parallel with a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class CheckResult:
    """What was checked, what was found, and how to fix a problem."""

    what: str
    level: Level
    message: str
    fix: str = ""


Check = Callable[[], Iterable[CheckResult]]


def run_checks(checks: Iterable[Check], *, seconds: float) -> Iterator[CheckResult]:
    """The results of all checks in their order. A check that has not ended after `seconds` is reported as a problem.

    Each check has a daemon thread, so that a hanging file system or driver does not block the command.
    """
    started = [(check, *_start(check)) for check in checks]
    deadline = time.monotonic() + seconds
    for check, thread, found in started:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            yield CheckResult(_name(check), "problem", f"no answer within {seconds:.0f} s", "find out why it hangs")
        else:
            yield from found


def _start(check: Check) -> tuple[threading.Thread, list[CheckResult]]:
    found: list[CheckResult] = []

    def look() -> None:
        try:
            found.extend(check())
        except Exception as error:  # noqa: BLE001 - a check that fails must not stop the others
            found.append(CheckResult(_name(check), "note", f"cannot be checked: {type(error).__name__}: {error}"))

    thread = threading.Thread(target=look, name=_name(check), daemon=True)
    thread.start()
    return thread, found


def _name(check: Check) -> str:
    return getattr(check, "__name__", "check").replace("_", " ")
