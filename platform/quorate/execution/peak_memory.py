"""Measure the most memory that a task uses."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from quorate.training.context import MemoryUse

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Sets the peak of this process to what it uses now (proc(5), clear_refs)."""


class PeakMemory:
    """The memory of this process from now on.

    Pages that are shared with other processes do not count: the placed rows in Ray's object store, and the files of
    libraries and of mapped rows. The system counts them in the peak, so those that are resident at the end are
    subtracted. A worker keeps memory that earlier tasks have freed, so the figure of a later task can be too high. Of
    an accelerator, it is what torch has reserved.
    """

    def __init__(self) -> None:
        self._counts = False
        with contextlib.suppress(OSError):  # another system than Linux, or a container that forbids it
            _CLEAR.write_text(_RESET_PEAK)
            self._counts = True
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()

    def used(self, among: int = 1) -> MemoryUse | None:
        """The peak until now, divided by the number of tasks that ran together; None if the system does not tell."""
        whole = peak_of_process() if self._counts else None
        return MemoryUse(whole.node // among, whole.accelerator // among) if whole is not None else None


def peak_of_process() -> MemoryUse | None:
    """The most memory of this process since the last `PeakMemory` was made, or since its start; None if the system does
    not tell."""
    try:
        fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    except OSError:
        return None
    peak, files, shared = (1024 * int(fields[name].split()[0]) for name in ("VmHWM", "RssFile", "RssShmem"))
    reserved = torch.cuda.max_memory_reserved() if torch.cuda.is_initialized() else 0
    return MemoryUse(max(0, peak - files - shared), reserved)
