"""The name and the log of a process of Ray."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import ray

from quorate.execution.assignment import this_process


def name_of_process(*, by_address: bool) -> str:
    """The name of this process in events: with the address of its node (`by_address`), or the name of its machine."""
    return f"{ray.util.get_node_ip_address()}:{os.getpid()}" if by_address else this_process()


def log_of_process() -> str:
    """The file that the errors of this process are written to; empty if it is not known."""
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/fd/2").readlink())
    return ""
