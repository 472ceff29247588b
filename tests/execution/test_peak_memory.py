"""The most memory that a task used."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quorate.execution import peak_memory
from quorate.execution.peak_memory import PeakMemory, peak_of_process
from quorate.execution.ray.cluster import KEEPS_MEMORY
from quorate.members.base import PROCESS_MEMORY

MIB = 1 << 20


@pytest.fixture(autouse=True)
def first_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: no task has been measured in it."""
    monkeypatch.setattr(PeakMemory, "_before", None)


def touched(size: int) -> mmap.mmap:
    """Private memory of the system itself: the C library may serve an array from what it kept of earlier tests."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[:: mmap.PAGESIZE] = bytes(len(range(0, size, mmap.PAGESIZE)))
    return memory


def test_the_peak_counts_memory_that_was_freed_and_not_what_was_used_before() -> None:
    touched(300 * MIB).close()
    before = PeakMemory().used()

    measure = PeakMemory()
    touched(100 * MIB).close()
    used = measure.used()

    assert before is not None and used is not None
    assert 90 * MIB < used.node - before.node < 120 * MIB


def test_the_rows_of_the_job_in_the_same_process_do_not_count() -> None:
    alone = PeakMemory().used()
    assert alone is not None

    with touched(PROCESS_MEMORY + 200 * MIB):
        PeakMemory._before = None
        measure = PeakMemory()
        touched(100 * MIB).close()
        used = measure.used()

    assert used is not None
    assert 90 * MIB < used.node - PROCESS_MEMORY < 120 * MIB, "as in a worker, which has the rows in shared memory"


def test_memory_of_the_job_that_is_freed_later_does_not_hide_that_of_a_task() -> None:
    with touched(PROCESS_MEMORY + 200 * MIB):
        PeakMemory()

    measure = PeakMemory()
    with touched(PROCESS_MEMORY):
        used = measure.used()

    assert used is not None
    assert used.node > PROCESS_MEMORY


@pytest.mark.parametrize("missing", ["RssFile", "RssShmem", "VmHWM", "VmRSS"])
def test_a_system_that_does_not_tell_the_parts_gives_no_figure(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Path("/proc/self/status").read_text().splitlines()
    status = tmp_path / "status"
    status.write_text("\n".join(line for line in lines if not line.startswith(f"{missing}:")))
    monkeypatch.setattr(peak_memory, "_STATUS", status)

    assert PeakMemory().used() is None
    assert (peak_of_process() is None) == (missing != "VmRSS")


def test_mapped_files_and_shared_memory_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(bytes(100 * MIB))
    before, measure = PeakMemory().used(), PeakMemory()

    with (tmp_path / "rows").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as rows:
        assert sum(rows[:: mmap.PAGESIZE]) == 0
        shared = mmap.mmap(-1, 100 * MIB)
        shared.write(bytes(100 * MIB))
        used = measure.used()

    assert before is not None and used is not None
    assert used.node - before.node < 120 * MIB, "the bytes that were written, once"


def test_tasks_that_run_together_share_the_figure() -> None:
    alone, one_of_four = PeakMemory().used(), PeakMemory().used(4)

    assert alone is not None and one_of_four is not None
    assert abs(one_of_four.node - alone.node / 4) < 20 * MIB


SCRIPT = """
import numpy as np
from quorate.execution.peak_memory import PeakMemory, _private

np.ones(800 << 20, np.uint8)
kept = _private("VmRSS")
measure = PeakMemory()
np.ones(50 << 20, np.uint8)
print(kept >> 20, measure.used().node >> 20)
"""


@pytest.mark.system
def test_memory_that_an_earlier_task_freed_does_not_count_for_the_next() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, env={**os.environ, **KEEPS_MEMORY}
    )

    assert done.returncode == 0, done.stderr
    kept, used = map(int, done.stdout.split())
    assert kept > 800, "the C library keeps what was freed"
    assert used < kept - 700
