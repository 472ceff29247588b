"""Measure the most memory that a task uses."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from pathlib import Path
from typing import ClassVar

import torch

from quorate.members.base import PROCESS_MEMORY
from quorate.training.context import MemoryUse

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MUCH = PROCESS_MEMORY + (64 << 20)
"""Bytes of a process above which its freed memory is given back before a task (an assumption)."""
_RESET_PEAK = "5"
"""Sets the peak of this process to what it uses now (proc(5), clear_refs)."""


class PeakMemory:
    """The memory of this process from now on.

    Pages that are shared with other processes do not count: the placed rows in Ray's object store, and the files of
    libraries and of mapped rows. The system counts them in the peak, so those that are resident at the end are
    subtracted. A worker keeps memory that an earlier task has freed (`cluster.KEEPS_MEMORY`); much of it is given back
    first, as it would count for a task that does not use it. What the process used before its first task beyond
    `PROCESS_MEMORY`, such as the rows of a job that trains in its own process, does not count either. Of an
    accelerator, it is what torch has reserved.
    """

    _before: ClassVar[int | None] = None
    """Bytes that belong to no task. Their smallest value: the job may have freed some of them."""

    def __init__(self) -> None:
        self._counts = False
        with contextlib.suppress(OSError):  # another system than Linux, or a container that forbids it
            if (_private("VmRSS") or 0) > _MUCH and platform.libc_ver()[0] == "glibc":
                ctypes.CDLL(None).malloc_trim(0)
            _CLEAR.write_text(_RESET_PEAK)
            if (present := _private("VmRSS")) is not None:
                others = max(0, present - PROCESS_MEMORY)
                PeakMemory._before = others if PeakMemory._before is None else min(PeakMemory._before, others)
                self._counts = True
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()

    def used(self, among: int = 1) -> MemoryUse | None:
        """The peak until now, divided by the number of tasks that ran together; None if the system does not tell."""
        whole = peak_of_process() if self._counts else None
        return MemoryUse(whole.node // among, whole.accelerator // among) if whole is not None else None


def peak_of_process() -> MemoryUse | None:
    """The most memory of the tasks of this process since the last `PeakMemory` was made, or since its start; None if
    the system does not tell."""
    if not _STATUS.exists() or (peak := _private("VmHWM")) is None:
        return None
    reserved = torch.cuda.max_memory_reserved() if torch.cuda.is_initialized() else 0
    return MemoryUse(max(0, peak - (PeakMemory._before or 0)), reserved)


def _private(name: str) -> int | None:
    """`VmRSS` or `VmHWM` without the shared pages that are resident now, in bytes (proc(5), status); None if a field is
    missing, as in gVisor."""
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    wanted = [fields.get(key) for key in (name, "RssFile", "RssShmem")]
    if None in wanted:
        return None
    whole, files, shared = (1024 * int(text.split()[0]) for text in wanted if text is not None)
    return max(0, whole - files - shared)
