"""What the processes of a Ray of our own have from their start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quorate.execution.ray.cluster import KEEPS_MEMORY, ClusterError, require_token, socket_problem, start_ray

SCRIPT = """
import json
from pathlib import Path
from quorate.execution.ray.cluster import start_ray
start_ray("local", cpus=1)
import ray
there = ray.remote(lambda: Path("/proc/self/environ").read_text())
print(json.dumps(ray.get(there.remote()).split(chr(0))))
ray.shutdown()
"""


@pytest.mark.system
def test_workers_start_with_the_settings_that_keep_freed_memory() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)

    assert ended.returncode == 0, ended.stderr
    assert {f"{name}={value}" for name, value in KEEPS_MEMORY.items()} <= set(json.loads(ended.stdout))


def test_a_temporary_folder_with_a_long_name_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An AF_UNIX address holds 107 bytes, of which Ray's own part takes 68."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/" + "x" * 38)
    assert socket_problem() == ""

    monkeypatch.setenv("TMPDIR", "/" + "x" * 39)

    with pytest.raises(ClusterError, match=r"TMPDIR=/x+ has 40 bytes.*allow 39.*RAY_TMPDIR=/tmp.*--executor local"):
        start_ray()


@pytest.mark.parametrize("home", ["/proc/1/no-home", None])
def test_without_a_home_folder_a_token_is_made_for_this_process(
    monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    else:
        monkeypatch.setattr(Path, "home", classmethod(_homeless))

    require_token()

    made = [os.environ.pop(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE")]
    assert len(made[0]) == 64 and made[1] == "token"


def _homeless(cls: type[Path]) -> Path:
    raise RuntimeError("Could not determine home directory.")


NICENESS_SCRIPT = """
import os, sys
from quorate.execution.ray.cluster import start_ray
start_ray("local", cpus=1, urgent=sys.argv[1] == "urgent")
import ray
print(ray.get(ray.remote(lambda: os.nice(0)).remote()) - os.nice(0))
ray.shutdown()
"""


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.parametrize(("how", "niceness"), [("urgent", 0), ("usual", 15)])
def test_workers_give_way_to_other_processes_unless_they_are_urgent(how: str, niceness: int) -> None:
    ended = subprocess.run([sys.executable, "-c", NICENESS_SCRIPT, how], capture_output=True, text=True, timeout=120)

    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) == niceness
