"""Check the processors, memory and disks of this machine, and the limits of its container."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from quorate.doctor.check import CheckResult
from quorate.execution.container import cpu_quota, memory_limit
from quorate.execution.ray.cluster import socket_problem
from quorate.quantities import format_bytes

GIB = 1 << 30
LEAST_MEMORY = 4 * GIB
"""Free memory in bytes below which a note is reported. It is twice the memory that Ray uses with two workers that
import torch, about 2 GiB. An assumption, not a measurement."""
LEAST_DISK = 1 * GIB
"""Free bytes of a disk below which a problem is reported. An assumption, not a measurement."""
LEAST_FILES = 256
"""Minimum limit of open files per process for Ray. On two cores, Ray starts with a limit of 64 (`ulimit -n 64`) but not
with 48. The margin for more workers is an assumption, not a measurement."""
OBJECT_STORE = 0.3
"""Fraction of the memory that Ray uses for its object store in /dev/shm: Ray's default."""

_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_SHARED = Path("/dev/shm")  # noqa: S108 - the place, not a file in it


def processors() -> Iterator[CheckResult]:
    """Check the CPU, its instruction sets, and the number of usable cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    known = [name for name in _SETS if name in flags]
    fast = "fast" if {"avx512_bf16", "amx_bf16"} & set(flags) else "not faster than float32"
    model = fields.get("model name") or platform.processor() or platform.machine()
    yield CheckResult("CPU", "ok", f"{model}; {', '.join(known) or 'no AVX2'}; bfloat16 {fast}")
    seen = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else seen
    quota = cpu_quota()
    if quota is not None and quota < usable:
        fix = f"limit the number of parallel tasks: --set execution.workers={max(1, int(quota))}"
        yield CheckResult(
            "cores", "note", f"{usable} visible, but this container may use only {quota:g} of them; {fix}"
        )
    else:
        yield CheckResult("cores", "ok", f"{usable}" if usable == seen else f"{usable} of {seen}")
    yield _threads(usable)


def memory() -> Iterator[CheckResult]:
    """Check memory, the limit of the container, and the shared memory for Ray's objects."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    limit = memory_limit()
    bounded = limit is not None and limit < total
    most = min(total, limit) if limit is not None else total
    message = f"{format_bytes(total)}, {format_bytes(free)} free" + (
        f"; this container may use only {format_bytes(most)}" if bounded else ""
    )
    if min(most, free) < LEAST_MEMORY:
        message += "; Ray needs more; use `--executor local`, which needs less"
        yield CheckResult("memory", "note", message)
    else:
        yield CheckResult("memory", "ok", message)
    if _SHARED.is_dir():
        yield _shared_memory(most)


def _shared_memory(most: int) -> CheckResult:
    room, wanted = shutil.disk_usage(_SHARED).free, int(OBJECT_STORE * most)
    if room >= wanted:
        return CheckResult(str(_SHARED), "ok", f"{format_bytes(room)} free")
    message = (
        f"{format_bytes(room)} free, but Ray uses up to {format_bytes(wanted)}, so it stores objects in /tmp, "
        "which is slower; in Docker, set --shm-size"
    )
    return CheckResult(str(_SHARED), "note", message)


def disk(what: str, folder: Path) -> CheckResult:
    """Check that `folder`, or its nearest existing parent, is writable and has free space."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return CheckResult(what, "problem", f"{there} cannot be written", "change its owner, or choose another folder")
    free = shutil.disk_usage(there).free
    message = f"{folder}: {format_bytes(free)} free"
    if free < LEAST_DISK:
        return CheckResult(
            what, "problem", message, "make room: `quorate store collect --max-size SIZE`, `quorate runs remove`"
        )
    return CheckResult(what, "ok", message)


def temporary() -> Iterator[CheckResult]:
    """Check that the folder for temporary files is writable, and that its path is short enough for Ray's sockets."""
    given = os.environ.get("TMPDIR")
    try:
        used = Path(tempfile.gettempdir())
    except FileNotFoundError:
        fix = "make room, or set TMPDIR to a writable folder"
        yield CheckResult("temporary files", "problem", "no folder for temporary files is writable", fix)
        return
    if given and used != Path(os.path.abspath(given)):  # noqa: PTH100 - without `..`, as tempfile does it
        message = f"TMPDIR={given} cannot be written; Python uses {used} instead, and Ray fails"
        yield CheckResult("temporary files", "problem", message, "create that folder, or set TMPDIR to another one")
    else:
        yield disk("temporary files", used)
    if problem := socket_problem():
        message, _, fix = problem.partition(": ")
        yield CheckResult("Ray's sockets", "problem", message, fix)


def open_files() -> CheckResult:
    """Check the limit on open files and sockets per process."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= LEAST_FILES:
        return CheckResult("open files", "ok", "no limit" if limit == resource.RLIM_INFINITY else f"{limit:,} allowed")
    fix = f"`ulimit -n {LEAST_FILES}` in this shell" if most == resource.RLIM_INFINITY or most >= LEAST_FILES else ""
    return CheckResult(
        "open files",
        "problem",
        f"{limit:,} allowed, and Ray needs about {LEAST_FILES:,}",
        fix or "ask the administrator to raise the hard limit, or train with `--executor local`",
    )


def _threads(cores: int) -> CheckResult:
    given = os.environ.get("OMP_NUM_THREADS")
    if given is None:
        return CheckResult("OMP_NUM_THREADS", "ok", "not set; each fit task sets its own number of threads (`cpus`)")
    if not given.isdigit() or int(given) < 1:
        return CheckResult(
            "OMP_NUM_THREADS", "problem", f"{given!r} is not a number of threads", "unset OMP_NUM_THREADS"
        )
    if int(given) > cores:
        message = f"{given} threads are slower than {cores} threads on a machine with {cores} cores"
        return CheckResult("OMP_NUM_THREADS", "problem", message, "unset OMP_NUM_THREADS")
    return CheckResult("OMP_NUM_THREADS", "ok", given)
