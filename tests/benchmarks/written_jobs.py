"""What the jobs that `quorate init` writes reach in a time: accuracy and log-loss on the test rows for several budgets.

`python -m tests.benchmarks.written_jobs PHOTOS --weights WEIGHTS --budgets 60s 120s 300s 600s` writes a job for each
budget and trains it without earlier work. With `--limit 10000`, only the first rows of `train.npz` are used. With
`--label NAME`, the data are folders with a `train.csv` and a `test.csv`. The table has the seconds of `quorate train`
from its start to its end; those of `quorate init` are apart.

With `--peer COMMAND`, another program runs before each job. The last line that it prints is JSON with its seconds
(`fit_s`) and its results on the test rows (`acc`, `nll`), and the budget is `--times` its seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = (
    "data",
    "budget",
    "used",
    "seed",
    "init s",
    "train s",
    "members",
    "folds",
    "OOF acc. / NLL",
    "test acc. / NLL",
)


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


def row_of(data: Path, weights: Path | None, label: str | None, budget: str, seed: int, keep: Path | None) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory(prefix="quorate-written-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        of = [str(data)] if label is None else [f"{data}/train.csv", "--test", f"{data}/test.csv", "--label", label]
        start = ["--weights", str(weights.absolute())] if weights is not None else []
        _, written = quorate(folder, "init", *of, "-o", "job.yaml", "--budget", budget, *start)
        board, trained = quorate(folder, "train", "job.yaml", "-q", "--seed", str(seed))
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / "job.yaml", keep / f"{data.name}-{budget}-{seed}.yaml")
            (keep / f"{data.name}-{budget}-{seed}.json").write_text(json.dumps(board), encoding="utf-8")
    inside = [f"{row['name']} {row['weight']:.2f}" for row in board["members"] if row["weight"] > 0]
    figures = [board["ensemble"][split] for split in ("oof", "test")]
    found = [f"{one['accuracy']:.4f} / {one['nll']:.4f}" if one else "-" for one in figures]
    used = board["budget"]
    folds = f"{used['folds']} of {used['of_folds']}"
    seconds = (f"{used['used_seconds']:.0f}", str(seed), f"{written:.0f}", f"{trained:.0f}")
    return f"| {' | '.join((data.name, budget, *seconds, ', '.join(inside), folds, *found))} |"


def peer(command: str, times: float) -> tuple[str, str]:
    """A cell with the results of another program, and the budget that belongs to them."""
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return f" {found['fit_s']} s: {found['acc']:.4f} / {found['nll']:.4f} |", f"{int(times * found['fit_s'])}s"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("data", type=Path, nargs="+")
    asked.add_argument("--weights", type=Path)
    asked.add_argument("--budgets", nargs="+", default=["60s", "120s", "300s", "600s"])
    asked.add_argument("--seeds", nargs="+", type=int, default=[0])
    asked.add_argument("--limit", type=int, help="number of training rows of an npz")
    asked.add_argument("--label", help="the label of tables")
    asked.add_argument("--peer", help="a command that runs before each job")
    asked.add_argument("--times", type=float, default=1.5, help="the budget, as a multiple of the peer's seconds")
    asked.add_argument("--keep", type=Path, help="a folder for the job files and the leaderboards")
    given = asked.parse_args()
    columns = (*COLUMNS, "peer") if given.peer else COLUMNS
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="quorate-written-", ignore_cleanup_errors=True) as name:
        for place in given.data:
            data = limited(place, given.limit, Path(name) / place.name) if given.limit else place.absolute()
            for asked_for, seed in itertools.product([""] if given.peer else given.budgets, given.seeds):
                cell, budget = peer(given.peer, given.times) if given.peer else ("", asked_for)
                print(row_of(data, given.weights, given.label, budget, seed, given.keep) + cell, flush=True)


if __name__ == "__main__":
    main()
