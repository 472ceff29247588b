"""A worker that died is named with the signal that ended it."""

from __future__ import annotations

import pytest

from quorate.execution.ray.worker_signals import cause_of_death

VANISHED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: W\nThe actor is dead because its worker "
    "process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection "
    "error code 2. End of file. Some common causes include: (1) the process was killed by the OOM killer"
)
TERMINATED = (
    "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker exits unexpectedly. Worker exits with an exit code 1. "
    "The process receives a SIGTERM."
)


@pytest.mark.parametrize(
    "said,log,cause",
    [
        (VANISHED, "epoch 3\n*** SIGSEGV received at time=1795834513 on cpu 0 ***\n", "SIGSEGV (Segmentation fault)"),
        (VANISHED, "double free\n*** SIGABRT received at time=1 on cpu 1 ***\n", "SIGABRT (Aborted)"),
        (VANISHED, "*** SIGILL received at time=1 on cpu 1 ***\n", "SIGILL (Illegal instruction)"),
        (VANISHED, "epoch 3\n", "SIGKILL, as its log names no other signal; most likely the machine was out of memory"),
        (TERMINATED, "epoch 3\n", "SIGTERM (another process asked it to end)"),
        (VANISHED, None, "Worker unexpectedly exits with a connection error code 2. End of file."),
        ("The node died.\nmore", None, "The node died."),
        ("", None, "no reason was given"),
    ],
)
def test_the_cause_is_read_from_the_log_and_from_the_message_of_ray(said, log, cause):
    assert cause_of_death(said, log).startswith(cause)
    assert "Some common causes" not in cause_of_death(said, log)
