"""Jobs of `pipelines/contest` compared with common alternatives on the same rows.

`python -m tests.benchmarks.contest digits` runs twenty stratified splits, each beside scikit-learn's stacking and soft
voting of five classifiers, and prints the paired differences with 95 % intervals (Student's t over the splits).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from quorate.data.source import TestSplit
from quorate.data.sources.digits import Digits, DigitsParams
from quorate.ensemble.metrics import scores

ROOT = Path(__file__).parents[2]
CONTEST = ROOT / "pipelines" / "contest"


def ours(job: str, *settings: str) -> dict[str, float]:
    """The test metrics of a job that is trained by the command line without earlier work, and the seconds of the whole
    command."""
    with tempfile.TemporaryDirectory() as name:
        given = [part for setting in settings for part in ("--set", setting)]
        command = [sys.executable, "-m", "quorate", "train", str(CONTEST / f"{job}.yaml"), "--json", "-q", *given]
        places = {"QUORATE_RUNS": f"{name}/runs", "QUORATE_STORE": f"{name}/store"}
        begun = time.perf_counter()
        done = subprocess.run(command, cwd=name, env={**os.environ, **places}, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        board: dict[str, Any] = json.loads(done.stdout)
        return {**board["ensemble"]["test"], "seconds": time.perf_counter() - begun}


def peers(split: TestSplit) -> dict[str, dict[str, float]]:
    """scikit-learn's stacking and soft voting of SVC, two forests, a perceptron and a logistic regression."""
    opened = Digits.open(DigitsParams(test=split))
    assert opened.test is not None
    x, held = (data.x.take(np.arange(len(data))).reshape(len(data), -1) / 255 for data in (opened.train, opened.test))
    pool = [
        ("svc", make_pipeline(StandardScaler(), CalibratedClassifierCV(SVC(C=10), ensemble=False, n_jobs=2))),
        ("rf", RandomForestClassifier(500, n_jobs=2, random_state=0)),
        ("et", ExtraTreesClassifier(500, n_jobs=2, random_state=0)),
        ("mlp", make_pipeline(StandardScaler(), MLPClassifier((256, 128), early_stopping=True, random_state=0))),
        ("lr", make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))),
    ]
    found = {}
    for name, made in (
        ("stacking", StackingClassifier(pool, cv=5)),
        ("soft voting", VotingClassifier(pool, voting="soft")),
    ):
        begun = time.perf_counter()
        proba = made.fit(x, opened.train.y).predict_proba(held)
        found[name] = {**scores(proba, opened.test.y), "seconds": time.perf_counter() - begun}
    return found


def interval(values: list[float]) -> str:
    half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
    return f"{np.mean(values):+.4f} [{np.mean(values) - half:+.4f}, {np.mean(values) + half:+.4f}]"


def digits(splits: int) -> None:
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(splits):
        here = {"quorate": ours("digits", f"data.test.seed={seed}", f"seed={seed}")}
        here |= peers(TestSplit(fraction=0.25, seed=seed))
        for name, figures in here.items():
            found.setdefault(name, []).append(figures)
            print(seed, name, {key: round(value, 4) for key, value in figures.items()}, flush=True)
    print("\n| | accuracy | NLL | ECE | quorate less it: accuracy | NLL | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name, rows in found.items():
        means = [f"{np.mean([row[key] for row in rows]):.4f}" for key in ("accuracy", "nll", "ece")]
        pairs = list(zip(found["quorate"], rows, strict=True))
        against = ["", ""]
        if name != "quorate":
            against = [interval([mine[key] - other[key] for mine, other in pairs]) for key in ("accuracy", "nll")]
        print(f"| {name} | {' | '.join([*means, *against])} | {max(row['seconds'] for row in rows):.0f} |")


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", choices=["digits"])
    asked.add_argument("--splits", type=int, default=20)
    given = asked.parse_args()
    digits(given.splits)
