"""Whether a budget always gives an ensemble in time, on an idle machine and next to a process that comes and goes.

`python -m tests.benchmarks.budget --runs 20 --budget 60s` runs a job from nothing in new stores, every second time
while a process of its own keeps a core busy for some seconds, sleeps for some seconds, and so on. A run is good when
it ends with exit code 0 at most three seconds after its budget, and its ensemble has a network. QUORATE_DATA names the
folder of the data.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quorate.quantities import read_seconds

ROOT = Path(__file__).parents[2]
JOB = Path(__file__).with_name("budget.yaml")
LATE = 3.0
"""Maximum number of seconds by which a run may exceed its budget."""
_BUSY = """
import os, random, sys, time
parent, draw = os.getppid(), random.Random(int(sys.argv[1]))
while os.getppid() == parent:
    until = time.monotonic() + draw.uniform(0.5, 10)
    while time.monotonic() < until and os.getppid() == parent:
        sum(range(100_000))
    time.sleep(draw.uniform(0.5, 10))
"""
"""Starts and stops at random, with the seed that it is given; it ends with the process that started it."""


@dataclass(frozen=True)
class Outcome:
    """The result of one run; `board` is None if it has no ensemble."""

    busy: int
    seconds: float
    code: int
    said: str
    board: dict[str, Any] | None

    @property
    def networks(self) -> list[str]:
        """The networks with weight."""
        members = self.board["members"] if self.board is not None else []
        return [row["name"] for row in members if row["kind"] == "net" and row["weight"] > 0]

    def is_good(self, budget: float) -> bool:
        return self.code == 0 and self.seconds <= budget + LATE and bool(self.networks)


def run(job: Path, budget: str, *, busy: int, seed: int) -> Outcome:
    """Run `job` without a store of earlier work, next to this number of busy processes."""
    with tempfile.TemporaryDirectory(prefix="quorate-budget-") as name, competition(busy, seed):
        command = [sys.executable, "-m", "quorate", "train", str(job), "--budget", budget, "--json", "-q"]
        places = {"QUORATE_RUNS": f"{name}/runs", "QUORATE_STORE": f"{name}/store", "OMP_NUM_THREADS": "1"}
        begun = time.monotonic()
        done = subprocess.run(command, cwd=name, env={**os.environ, **places}, capture_output=True, text=True)
        seconds = time.monotonic() - begun
        board = json.loads(done.stdout) if done.returncode == 0 else None
        return Outcome(busy, seconds, done.returncode, done.stderr, board)


@contextlib.contextmanager
def competition(processes: int, seed: int) -> Iterator[None]:
    """A number of processes, each of which keeps a core busy now and then."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY, str(seed + i)]) for i in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def row_of(number: int, outcome: Outcome, budget: float) -> str:
    """A line of the table."""
    board = outcome.board
    cells = [str(number), str(outcome.busy), f"{outcome.seconds:.1f}", str(outcome.code)]
    if board is not None:
        stopped = {row["member"]: row["epochs_done"] for row in board["budget"]["stopped_early"]}
        inside = [row["name"] for row in board["members"] if row["weight"] > 0]
        epochs = [f"{name} {done}" for name, done in stopped.items()]
        figures = [board["ensemble"][split] for split in ("oof", "test")]
        cells += [", ".join(inside), ", ".join(epochs) or "all"]
        cells += [f"{found['accuracy']:.4f} / {found['nll']:.4f}" if found else "-" for found in figures]
    else:
        cells += ["none", "", "", ""]
    return f"| {' | '.join([*cells, 'good' if outcome.is_good(budget) else 'BAD'])} |"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--runs", type=int, default=20)
    asked.add_argument("--budget", default="60s")
    asked.add_argument("--job", type=Path, default=JOB)
    asked.add_argument("--busy", type=int, default=1, help="busy processes during every second run")
    given = asked.parse_args()
    budget = read_seconds(given.budget)
    heads = ["run", "busy", "seconds", "exit", "in the ensemble", "epochs", "OOF acc. / NLL", "test acc. / NLL", ""]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    outcomes = []
    for number in range(1, given.runs + 1):
        outcomes.append(run(given.job.resolve(), given.budget, busy=given.busy * (number % 2 == 0), seed=100 * number))
        print(row_of(number, outcomes[-1], budget), flush=True)
        if outcomes[-1].code:
            print(outcomes[-1].said, file=sys.stderr, flush=True)
    good = sum(outcome.is_good(budget) for outcome in outcomes)
    latest = max(outcome.seconds for outcome in outcomes)
    print(
        f"\n{good} of {len(outcomes)} runs ended within {budget:.0f} + {LATE:.0f} s with a network in the ensemble; "
        f"the longest took {latest:.1f} s"
    )
    raise SystemExit(0 if good == len(outcomes) else 1)


if __name__ == "__main__":
    main()
