"""What the jobs that `quorate init` writes reach in a time: accuracy and log-loss on the test rows for several budgets.

`python -m tests.benchmarks.written_jobs PHOTOS --weights WEIGHTS --budgets 60s 120s 300s 600s` writes a job for each
budget and trains it without earlier work. With `--limit 10000`, only the first rows of `train.npz` are used. The table
has the seconds of `quorate train` from its start to its end; those of `quorate init` are apart.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = ("budget", "seed", "init s", "train s", "members", "folds", "OOF acc. / NLL", "test acc. / NLL")


def limited(data: Path, rows: int, folder: Path) -> Path:
    """A folder with the first `rows` of `train.npz`, and all of the other files."""
    shutil.copytree(data, folder, ignore=shutil.ignore_patterns("train.npz"), copy_function=shutil.copyfile)
    with np.load(data / "train.npz") as arrays:
        np.savez(folder / "train.npz", **{name: arrays[name][:rows] for name in arrays.files})
    return folder


def quorate(folder: Path, *arguments: str) -> tuple[dict[str, Any], float]:
    """The JSON answer of a command, and its seconds."""
    places = {"QUORATE_RUNS": f"{folder}/runs", "QUORATE_STORE": f"{folder}/store"}
    begun = time.perf_counter()
    command = [sys.executable, "-m", "quorate", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **places}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer, time.perf_counter() - begun


def row_of(data: Path, weights: Path | None, budget: str, seed: int, keep: Path | None) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory(prefix="quorate-written-") as name:
        folder = Path(name)
        start = ["--weights", str(weights.absolute())] if weights is not None else []
        _, written = quorate(folder, "init", str(data.absolute()), "-o", "job.yaml", "--budget", budget, *start)
        board, trained = quorate(folder, "train", "job.yaml", "-q", "--seed", str(seed))
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / "job.yaml", keep / f"{budget}-{seed}.yaml")
            (keep / f"{budget}-{seed}.json").write_text(json.dumps(board), encoding="utf-8")
    inside = [f"{row['name']} {row['weight']:.2f}" for row in board["members"] if row["weight"] > 0]
    figures = [board["ensemble"][split] for split in ("oof", "test")]
    found = [f"{one['accuracy']:.4f} / {one['nll']:.4f}" if one else "-" for one in figures]
    folds = f"{board['budget']['folds']} of {board['budget']['of_folds']}"
    cells = (budget, str(seed), f"{written:.0f}", f"{trained:.0f}", ", ".join(inside), folds, *found)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("data", type=Path)
    asked.add_argument("--weights", type=Path)
    asked.add_argument("--budgets", nargs="+", default=["60s", "120s", "300s", "600s"])
    asked.add_argument("--seeds", nargs="+", type=int, default=[0])
    asked.add_argument("--limit", type=int, help="number of training rows of an npz")
    asked.add_argument("--keep", type=Path, help="a folder for the job files and the leaderboards")
    given = asked.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="quorate-written-") as name:
        data = limited(given.data, given.limit, Path(name) / given.data.name) if given.limit else given.data
        for budget in given.budgets:
            for seed in given.seeds:
                print(row_of(data, given.weights, budget, seed, given.keep), flush=True)


if __name__ == "__main__":
    main()
