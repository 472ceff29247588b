"""Name the signal that ended a worker of Ray."""

from __future__ import annotations

import re
import signal

_CAUGHT = re.compile(r"\*\*\* (SIG[A-Z]+) received")
"""Text that Ray's handler of fatal signals writes to the worker's log (seen with Ray 2.60)."""
_TERMINATED = "receives a SIGTERM"
_VANISHED = "connection error code 2"
"""Text in Ray's message about a worker that ended without a message."""


def cause_of_death(said: str, log: str | None) -> str:
    """Return why a worker died, from Ray's message and the worker's log; `log` is None if it is on another machine."""
    if caught := _CAUGHT.findall(log or ""):
        name = str(caught[-1])
        return f"{name} ({signal.strsignal(signal.Signals[name]) or 'a signal'})"
    if _TERMINATED in said:
        return "SIGTERM (another process asked it to end)"
    if _VANISHED in said and log is not None:
        return (
            "SIGKILL, as its log names no other signal; most likely the machine was out of memory: "
            "lower execution.workers or the batch size, or set the memory of the member"
        )
    return _exit_detail(said)


def _exit_detail(said: str) -> str:
    """Ray's reason in one line, without its list of possible causes."""
    _, found, detail = said.partition("Worker exit detail: ")
    text = detail if found else said
    lines = text.strip().splitlines() or ["no reason was given"]
    return lines[0].partition(" Some common causes")[0]
