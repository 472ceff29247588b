"""The most memory that a task used."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quorate.execution.cluster import KEEPS_MEMORY
from quorate.execution.peak_memory import PeakMemory

MIB = 1 << 20


def test_the_peak_counts_memory_that_was_freed_and_not_what_was_used_before() -> None:
    np.ones(300 * MIB, np.uint8)
    before = PeakMemory().used()

    measure = PeakMemory()
    np.ones(100 * MIB, np.uint8)
    used = measure.used()

    assert before is not None and used is not None
    assert 90 * MIB < used.node - before.node < 120 * MIB


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
