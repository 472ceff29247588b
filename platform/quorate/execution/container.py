"""The limits of the container of this process."""

from __future__ import annotations

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cpu_quota() -> float | None:
    """Number of cores that the container may use, from cgroup v2 or v1; None without a limit."""
    try:
        quota, period = (CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    return None if quota.strip() in ("max", "-1") else int(quota) / int(period)


def memory_limit() -> int | None:
    """Bytes of memory that the container may use, from cgroup v2 or v1; None without a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (CGROUP / name).read_text().strip()
        except OSError:
            continue
        return None if text == "max" or int(text) >= 1 << 60 else int(text)
    return None
