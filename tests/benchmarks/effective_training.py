"""Effective training time while a worker is killed each minute: `python -m tests.benchmarks.effective_training`.

Two networks train on two workers of one thread, first undisturbed and then with a kill per minute, of one worker and
the other in turn. The effective training time is the time that the networks need without
kills, divided by that with kills: the rest is work that was lost, and the start of new workers. Requires root.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

from tests.chaos.injector import Outcome, run_job
from tests.chaos.jobs import JOB, NET
from tests.chaos.schedule import PlannedFault, Schedule
from tests.chaos.world import World, world

_EPOCH_SECONDS = 0.35
"""An epoch on one core of two, AMD EPYC; the length of the job depends on it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.5, help="length of the undisturbed training")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two kills")
    parser.add_argument("--checkpoint-seconds", type=float, default=10.0, help="as in the job file")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the hosts are removed
    job = job_of(chosen.minutes, chosen.checkpoint_seconds)
    with tempfile.TemporaryDirectory(prefix="quorate-effective-") as name, world() as made:
        plain = measured(made, job, Schedule(0, ()), Path(name) / "plain", None)
        count = max(1, int((plain.training_seconds - 1) / chosen.every))
        kills = tuple(
            PlannedFault((number + 1) * chosen.every, "worker killed", number, 0.0) for number in range(count)
        )
        made.repair()
        killed = measured(made, job, Schedule(0, kills), Path(name) / "killed", plain)
    effective = plain.task_seconds / killed.task_seconds
    print(f"{len(killed.given)} kills, one per {chosen.every:.0f} s; epochs trained twice: {list(killed.repeated)}")
    print(f"worker seconds: {plain.task_seconds:.1f} undisturbed, {killed.task_seconds:.1f} with kills")
    print(f"training: {plain.training_seconds:.1f} s undisturbed, {killed.training_seconds:.1f} s with kills")
    print(
        f"effective training time {effective:.1%}, "
        f"by the wall clock {plain.training_seconds / killed.training_seconds:.1%}"
    )


def job_of(minutes: float, checkpoint_seconds: float) -> dict[str, Any]:
    """A job of one network and two folds."""
    execution = {**JOB["execution"], "checkpoint_seconds": checkpoint_seconds}
    members = {"cnn": {**NET, "epochs": max(1, round(60 * minutes / _EPOCH_SECONDS))}}
    folds = {"data": {"kind": "digits"}, "validation": {"folds": 2}}
    return {**JOB, "name": "effective", **folds, "members": members, "execution": execution}


def measured(made: World, job: dict[str, Any], schedule: Schedule, folder: Path, plain: Outcome | None) -> Outcome:
    """The outcome of the job; with `plain`, its predictions must be the same."""
    expected = plain.digests if plain is not None else None
    outcome = run_job(made, job, schedule, folder, expected, patience=3600)
    print(outcome, flush=True)
    assert not outcome.problem, outcome.problem
    return outcome


if __name__ == "__main__":
    main()
