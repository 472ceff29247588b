"""A local Ray that starts in a thread."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys, time
from pathlib import Path
from quorate.execution.ray.early_start import StartingRay
with StartingRay() as starting:
    starting.wait()
    import ray
    time.sleep(1)  # Ray's processes would end with the thread that started them
    told = {"modules": ray.get(ray.remote(lambda: list(sys.modules)).remote())}
    children = [part.read_text().split() for part in Path("/proc/self/task").glob("*/children")]
    told["processes"] = [int(pid) for part in children for pid in part]
told["connected"] = ray.is_initialized()
print(json.dumps(told))
"""
UNUSED = """
from quorate.execution.ray.early_start import StartingRay
with StartingRay():
    raise SystemExit("the data cannot be read")
"""


@pytest.mark.system
def test_it_serves_the_main_thread_with_workers_that_have_imported_torch_and_ends_with_its_block() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)

    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert {"torch", "quorate.execution.ray.worker"} <= set(told["modules"])
    assert not told["connected"]
    assert told["processes"] and not [pid for pid in told["processes"] if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
@pytest.mark.system
def test_an_error_in_its_block_is_passed_on_when_ray_has_ended() -> None:
    ended = subprocess.run([sys.executable, "-c", UNUSED], capture_output=True, text=True, timeout=120)

    assert ended.returncode == 1 and "the data cannot be read" in ended.stderr and "Traceback" not in ended.stderr
