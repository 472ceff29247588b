"""What the processes of a Ray of our own have from their start."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from quorate.execution.session import KEEPS_MEMORY

SCRIPT = """
import json
from pathlib import Path
from quorate.execution.session import start_ray
start_ray("local", cpus=1)
import ray
there = ray.remote(lambda: Path("/proc/self/environ").read_text())
print(json.dumps(ray.get(there.remote()).split(chr(0))))
ray.shutdown()
"""


@pytest.mark.system
def test_workers_keep_their_memory_from_their_start() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)

    assert ended.returncode == 0, ended.stderr
    assert {f"{name}={value}" for name, value in KEEPS_MEMORY.items()} <= set(json.loads(ended.stdout))


NICENESS_SCRIPT = """
import os, sys
from quorate.execution.session import start_ray
start_ray("local", cpus=1, urgent=sys.argv[1] == "urgent")
import ray
print(ray.get(ray.remote(lambda: os.nice(0)).remote()) - os.nice(0))
ray.shutdown()
"""


@pytest.mark.system
@pytest.mark.parametrize(("how", "niceness"), [("urgent", 0), ("usual", 15)])
def test_workers_give_way_to_other_processes_unless_they_are_urgent(how: str, niceness: int) -> None:
    ended = subprocess.run([sys.executable, "-c", NICENESS_SCRIPT, how], capture_output=True, text=True, timeout=120)

    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) == niceness
