"""A Slurm allocation of two namespaced hosts: real nodes of Ray, with `srun`, `scontrol` and the daemon replaced.

Each host has its own table of processes as well (`unshare --pid`), because `ray symmetric-run` ends with `ray stop`,
which ends every Ray process that it sees.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.clusters import Host

JOB_ID = 4711
_ALONE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", '[ $$ = 1 ] && exec "$@"', "sh"]
"""Runs a command as the first process of its own table; if it is not, the command does not start."""

_SRUN = """#!/bin/bash
# Start the command on the second host (through a request to its daemon) and on this one; end when both have ended.
kill_on_bad_exit=
while [[ $1 == -* ]]; do
  [[ $1 == --kill-on-bad-exit=1 ]] && kill_on_bad_exit=yes
  shift
done
rm -f "$SLURM_FAKE/code" "$SLURM_FAKE/kill"
printf '%s\\0' "$@" > "$SLURM_FAKE/request.new"
env -0 > "$SLURM_FAKE/environment"
mv "$SLURM_FAKE/request.new" "$SLURM_FAKE/request"
"$@"
code=$?
if [[ $code != 0 && -n $kill_on_bad_exit ]]; then touch "$SLURM_FAKE/kill"; fi
for second in $(seq 300); do
  [[ -e $SLURM_FAKE/code ]] && break
  (( second == 150 )) && touch "$SLURM_FAKE/kill" # half a minute, in place of --wait
  sleep .2
done
exit "$code"
"""
_SCONTROL = """#!/bin/bash
echo "$@" >> "$SLURM_FAKE/scontrol"
"""


class Allocation:
    """Two hosts of a job; `run` is one start of its batch script."""

    def __init__(self, hosts: list[Host], folder: Path) -> None:
        self.first, self.second = hosts
        self.folder = folder
        """Shared by the hosts, and the current folder of the script."""
        self.fake = folder / "slurm"
        (self.fake / "bin").mkdir(parents=True)
        for name, text in (("srun", _SRUN), ("scontrol", _SCONTROL)):
            path = self.fake / "bin" / name
            path.write_text(text)
            path.chmod(0o755)
        self._closed = threading.Event()
        self._daemon = threading.Thread(target=self._serve_requests, daemon=True)
        self._daemon.start()

    def start(self, script: Path, *arguments: str, restarts: int = 0) -> subprocess.Popen[bytes]:
        """Start the batch script on the first host; `restarts` is how often it was put back into the queue."""
        path = os.pathsep.join([str(self.fake / "bin"), os.environ["PATH"]])
        variables = {
            "PATH": path,
            "SLURM_FAKE": str(self.fake),
            "SLURM_JOB_ID": str(JOB_ID),
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_RESTART_COUNT": str(restarts),
            "QUORATE_BIN": str(Path(sys.executable).parent),
        }
        words = [*_ALONE, "bash", str(script), *arguments]
        return self.first.start(*words, env=variables, cwd=self.folder, log="batch.log")

    def said(self) -> str:
        return (self.first.folder / "batch.log").read_text()

    def requeued(self) -> str:
        path = self.fake / "scontrol"
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        self._closed.set()
        self._daemon.join(30)

    def _serve_requests(self) -> None:
        """What the daemon of the second host does: start what `srun` asks for, and report its exit code."""
        request, step = self.fake / "request", None
        while not self._closed.wait(0.1):
            if step is None and request.exists():
                words = request.read_bytes().decode().split("\0")[:-1]
                pairs = (self.fake / "environment").read_bytes().decode().split("\0")[:-1]
                given = dict(pair.split("=", 1) for pair in pairs)
                own = {"RAY_TMPDIR": f"{self.second.folder}", "SLURM_NODEID": "1"}
                request.unlink()
                step = self.second.start(*_ALONE, *words, env={**given, **own}, cwd=self.folder, log="step.log")
            if step is not None:
                if (self.fake / "kill").exists():
                    step.kill()
                if step.poll() is not None:
                    (self.fake / "code").write_text(str(step.returncode))
                    step = None
        if step is not None:
            step.kill()


def signal_pid(process: subprocess.Popen[bytes]) -> int:
    """The process that Slurm would send a signal to: the script, the only child of `unshare`."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + 10
    while not (found := children.read_text().split()):
        assert time.monotonic() < until, "the script did not start"
        time.sleep(0.1)
    return int(found[0])
