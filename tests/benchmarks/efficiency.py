"""A whole job against two bare processes that work off the same fit tasks, and the time until the first training step.

`python -m tests.benchmarks.efficiency` runs both in turn. The bare processes train and predict the members of the same
plan with nothing around them: no Ray, no store, no checkpoints, no tracking. The ratio compares the time from the end
of the first task to the end of the last.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quorate.execution.local import LocalExecutor
from quorate.execution.ray.cluster import KEEPS_MEMORY
from quorate.members.base import files_of
from quorate.plan.opening import open_data
from quorate.plan.planner import make_plan
from quorate.plan.tasks import FitTask, JobData
from quorate.registry import MEMBERS
from quorate.spec import load_job
from quorate.training.context import Metrics, Numerics, Signal, State

ROWS, SIDE, CLASSES = 4000, 28, 10
JOB = """
name: efficiency
data: {kind: npz, train: train.npz, test: test.npz}
validation: {scheme: kfold, folds: 3}
members:
  resnet: {kind: net, arch: {kind: small_resnet, width: 8, blocks: 1}, copies: 2, epochs: 8}
  cnn: {kind: net, arch: {kind: small_cnn, width: 16}, copies: 2, epochs: 12}
execution: {workers: 2}
"""
WORKERS = 2


@dataclass(frozen=True)
class Bare:
    """The context of a task without anything around it."""

    seed: int
    numerics: Numerics
    deadline: float | None = None
    restored: State | None = None
    unlabelled: None = None

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        return Signal.CONTINUE

    def asset(self, path: Path) -> Path:
        return path


def work_off(folder: Path, tasks: SimpleQueue[int | None], ends: SimpleQueue[float]) -> None:
    """Train and predict the tasks with the numbers in the queue, one after another."""
    os.chdir(folder)
    torch.set_num_threads(1)
    plan_tasks, data = planned(folder)
    assert data.test is not None
    while (number := tasks.get()) is not None:
        task = plan_tasks[number]
        fold, rows = data.folds[task.fold], data.train
        member = MEMBERS.get(task.kind)(task.params, signature=rows.signature, n_classes=rows.n_classes)
        valid = rows.take(fold.valid)
        member.fit(rows.take(fold.train), valid, Bare(task.seed, task.numerics))
        member.predict_proba(valid.x)
        member.predict_proba(data.test.x)
        files_of(member)
        ends.put(time.time())


def planned(folder: Path) -> tuple[list[FitTask], JobData]:
    """The fit tasks of the job, longest first as the queue of a job has them, and its data."""
    job = load_job(folder / "job.yaml")
    context = open_data(job)
    plan = make_plan(job.spec, context, LocalExecutor())
    return sorted(plan.tasks, key=lambda task: -task.cost), context


def bare(folder: Path) -> list[float]:
    """Seconds at which the tasks end, on the clock of `time.time`."""
    spawn = multiprocessing.get_context("spawn")
    tasks, ends = spawn.SimpleQueue(), spawn.SimpleQueue()
    count = len(planned(folder)[0])
    for number in [*range(count), *[None] * WORKERS]:
        tasks.put(number)
    workers = [spawn.Process(target=work_off, args=(folder, tasks, ends)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    found = [ends.get() for _ in range(count)]
    for worker in workers:
        worker.join()
    return sorted(found)


@dataclass(frozen=True)
class WholeJob:
    """The times of a job, in seconds on the clock of `time.time`."""

    begun: float
    lines: Mapping[str, float]
    """When the command printed its first lines, by their beginnings."""
    started: float
    """When a worker began its first task."""
    first_step: float
    """When the first epoch of the first task began."""
    ends: list[float]

    @property
    def parts(self) -> list[tuple[str, float]]:
        """What the time until the first training step went to, in seconds."""
        planned, folder = self.lines["3 folds"], self.lines["run folder"]
        marks = [self.begun, planned, folder, self.started, self.first_step]
        names = ("start, imports, data and plan", "store and run folder", "Ray, worker, data", "network, first batch")
        return [(name, after - before) for name, before, after in zip(names, marks, marks[1:], strict=False)]


def whole(folder: Path) -> WholeJob:
    """Run the job with `quorate train` in new folders."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        places = {"QUORATE_RUNS": f"{name}/runs", "QUORATE_STORE": f"{name}/store"}
        places["MLFLOW_TRACKING_URI"] = f"sqlite:///{name}/mlflow.db"
        command = [sys.executable, "-u", "-m", "quorate", "train", "job.yaml"]
        begun, lines = time.time(), {}
        with subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **places},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                for beginning in ("3 folds", "run folder"):
                    if beginning in line:
                        lines.setdefault(beginning, time.time())
        if process.returncode:
            raise SystemExit("".join(said))
        (journal,) = Path(name).glob("runs/*/journal.jsonl")
        records = [json.loads(line) for line in journal.read_text().splitlines()]
    folds = {
        one["uid"]: one["start_ms"] / 1e3 for one in records if one["kind"] == "run" and one["uid"].count("/") == 2
    }
    ends = [one["end_ms"] / 1e3 for one in records if one["kind"] == "end" and one["uid"] in folds]
    return WholeJob(begun, lines, min(folds.values()), min(_epochs(records)), sorted(ends))


def _epochs(records: list[dict[str, Any]]) -> Iterator[float]:
    """When the epochs began."""
    for one in records:
        if one["kind"] == "metrics" and "seconds" in one["values"]:
            yield one["timestamp_ms"] / 1e3 - one["values"]["seconds"]


def write_data(folder: Path) -> None:
    """Write noise with a bright row of pixels that tells the class."""
    random = np.random.default_rng(0)
    for name, rows in (("train", ROWS), ("test", ROWS // 4)):
        y = np.arange(rows) % CLASSES
        pixels = random.integers(0, 160, (rows, SIDE, SIDE, 1), dtype=np.uint8)
        pixels[np.arange(rows), 2 * y] += 60
        np.savez(folder / f"{name}.npz", images=pixels, labels=y)
    (folder / "job.yaml").write_text(JOB)


def main(pairs: int = 3) -> None:
    os.environ |= {**KEEPS_MEMORY, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    ratios = []
    with tempfile.TemporaryDirectory(prefix="quorate-efficiency-") as name:
        folder = Path(name)
        write_data(folder)
        for _ in range(pairs):
            job, ends = whole(folder), bare(folder)
            ours, theirs = job.ends[-1] - job.ends[0], ends[-1] - ends[0]
            ratios.append(theirs / ours)
            parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in job.parts)
            print(
                f"{len(ends)} tasks after the first: a job {ours:.1f} s, two bare processes {theirs:.1f} s", flush=True
            )
            print(f"first training step after {job.first_step - job.begun:.1f} s: {parts}", flush=True)
    print(f"efficiency of a whole job on {WORKERS} cores: median {statistics.median(ratios):.3f} of {sorted(ratios)}")


if __name__ == "__main__":
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--pairs", type=int, default=3)
    main(given.parse_args().pairs)
