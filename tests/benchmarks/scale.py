"""What a job costs per fit task, epoch, metric point and byte, and what saturates first in a large job.

`python -m tests.benchmarks.scale` runs jobs of 10, 100 and 1,000 fit tasks of a small network on a local Ray, fits the
costs to all but the largest jobs, and shows how well they predict these. docs/scale.md draws the conclusions.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np

ROWS, SIDE, CLASSES, FOLDS = 500, 8, 10, 5
WORKERS = 2
JOB = """
name: scale
data: {{kind: npz, train: train.npz}}
validation: {{scheme: kfold, folds: {folds}}}
members:
  mlp: {{kind: net, arch: {{kind: mlp, hidden: [32]}}, copies: {copies}, epochs: {epochs}, batch_size: 200}}
execution: {{workers: {workers}, checkpoint_seconds: 0}}
tracking: {{enabled: false}}
"""


@dataclass(frozen=True)
class Measured:
    """What one job used."""

    tasks: int
    epochs: int
    planning: float
    """CPU seconds of the driver until the run folder exists: start, data, plan, and the look-up in the store."""
    training: float
    """CPU seconds of the driver while tasks run: events, commits, journal."""
    closing: float
    """CPU seconds of the driver for the ensemble, the bundle and the report."""
    seconds: float
    """Wall time of the whole command."""
    memory: float
    """Peak resident memory of the driver in MB."""
    store_files: int
    store_bytes: int
    journal_records: int
    journal_bytes: int
    points: int
    """Metric points in MLflow's database at the end."""
    shipping: float
    """Wall time of sending the whole journal to a new SQLite database."""


EPOCHS = (2, 12)
FITTED = (
    "planning",
    "training",
    "closing",
    "memory",
    "store_files",
    "store_bytes",
    "journal_bytes",
    "points",
    "shipping",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000], help="numbers of fit tasks")
    parser.add_argument("--one", type=int, nargs=2, metavar=("TASKS", "EPOCHS"), help="run one job in this folder")
    parser.add_argument("--results", type=Path, help="a file of results of an earlier run, instead of running jobs")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(asdict(run_one(*chosen.one))))
        return
    if chosen.results is not None:
        lines = [line for line in chosen.results.read_text().splitlines() if line.startswith("{")]
        jobs = [Measured(**json.loads(line)) for line in lines]
    else:
        jobs = []
        for tasks, epochs in product(chosen.sizes, EPOCHS):
            jobs.append(measured(tasks, epochs))
            print(json.dumps(asdict(jobs[-1])), flush=True)
    largest = max(job.tasks for job in jobs)
    costs = {name: fitted(name, [job for job in jobs if job.tasks < largest]) for name in FITTED}
    show_costs(costs, [job for job in jobs if job.tasks == largest])


@dataclass(frozen=True)
class Cost:
    """An amount per job, per fit task and per epoch of a fit task."""

    job: float
    task: float
    epoch: float

    def of(self, tasks: int, epochs: int) -> float:
        return self.job + tasks * (self.task + epochs * self.epoch)


def fitted(name: str, jobs: list[Measured]) -> Cost:
    """The least-squares costs of jobs of different sizes."""
    rows = np.array([[1.0, job.tasks, job.tasks * job.epochs] for job in jobs])
    found = np.linalg.lstsq(rows, np.array([float(getattr(job, name)) for job in jobs]))[0]
    return Cost(*map(float, found))


def show_costs(costs: dict[str, Cost], largest: list[Measured]) -> None:
    """Print the costs, and how well they predict the largest jobs, which they were not fitted to."""
    heads = [f"{job.tasks:,} x {job.epochs}: predicted, measured" for job in largest]
    print(f"| quantity | per job | per fit task | per epoch | {' | '.join(heads)} |")
    print("|---" * (4 + len(heads)) + "|")
    for name, cost in costs.items():
        pairs = [f"{cost.of(job.tasks, job.epochs):.4g}, {float(getattr(job, name)):.4g}" for job in largest]
        print(f"| {name} | {cost.job:.3g} | {cost.task:.3g} | {cost.epoch:.3g} | {' | '.join(pairs)} |")


def measured(tasks: int, epochs: int) -> Measured:
    """Run a job in a process and folders of its own."""
    with tempfile.TemporaryDirectory(prefix="quorate-scale-") as name:
        folder = Path(name)
        write_job(folder, tasks, epochs)
        places = {"QUORATE_RUNS": f"{name}/runs", "QUORATE_STORE": f"{name}/store"}
        places["MLFLOW_TRACKING_URI"] = f"sqlite:///{name}/mlflow.db"
        command = [sys.executable, "-m", "tests.benchmarks.scale", "--one", str(tasks), str(epochs)]
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, **places, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise SystemExit(ended.stdout + ended.stderr)
        return Measured(**json.loads(ended.stdout.splitlines()[-1]))


def write_job(folder: Path, tasks: int, epochs: int) -> None:
    """Write noise with a bright row of pixels that tells the class, and the job."""
    random = np.random.default_rng(0)
    y = np.arange(ROWS) % CLASSES
    pixels = random.integers(0, 160, (ROWS, SIDE, SIDE, 1), dtype=np.uint8)
    pixels[np.arange(ROWS), y % SIDE] += 60
    np.savez(folder / "train.npz", images=pixels, labels=y)
    text = JOB.format(folds=FOLDS, copies=tasks // FOLDS, epochs=epochs, workers=WORKERS)
    (folder / "job.yaml").write_text(text)


def run_one(tasks: int, epochs: int) -> Measured:
    """Run the job of the current folder in this process."""
    from quorate.cli.console import make_console
    from quorate.execution.interrupt import StopRequest
    from quorate.job import training
    from quorate.job.run import Options, run_job
    from quorate.runs.lookup import runs_place
    from quorate.spec import load_job
    from quorate.store import open_store
    from quorate.tracking.shipper_process import sync

    marks = [time.process_time()]
    complete = training.Trainer.complete

    def timed(self: training.Trainer, *given: object) -> None:
        marks.append(time.process_time())
        complete(self, *given)  # type: ignore[arg-type]
        marks.append(time.process_time())

    training.Trainer.complete = timed  # type: ignore[method-assign,assignment]
    begun, store = time.monotonic(), Path(os.environ["QUORATE_STORE"])
    stop, console = StopRequest(), make_console(quiet=True)
    options = Options(open_store(str(store)), runs_place(), "ray", pictures=False)
    board = run_job(load_job(Path("job.yaml")), options, console=console, stop=stop)
    marks.append(time.process_time())
    planned, trained, closed = (after - before for before, after in pairwise(marks))
    files = [path for path in store.rglob("*") if path.is_file()]
    run = Path(os.environ["QUORATE_RUNS"]) / board.run
    journal, seconds = (run / "journal.jsonl").read_bytes(), time.monotonic() - begun
    begun = time.monotonic()
    assert sync(run, "sqlite:///again.db") == 0
    shipping = time.monotonic() - begun
    with sqlite3.connect("again.db") as database:
        (points,) = database.execute("select count(*) from metrics").fetchone()
    return Measured(
        tasks=tasks,
        epochs=epochs,
        planning=planned,
        training=trained,
        closing=closed,
        seconds=seconds,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        store_files=len(files),
        store_bytes=sum(path.stat().st_size for path in files),
        journal_records=journal.count(b"\n"),
        journal_bytes=len(journal),
        points=points,
        shipping=shipping,
    )


if __name__ == "__main__":
    main()
