"""Whether out-of-fold estimates are honest: over random re-splits of pooled rows, against the same models on the test.

`python -m tests.benchmarks.honesty digits` (or `adult`, `fashion`) trains four quick members on the folds of each of
twenty splits and prints the mean of estimate less test score, with its 95 % interval (Student's t over the splits):
of the members, each fold model on its own validation rows against the same models on the test rows; of the ensemble,
its cross-fitted estimate against the ensemble of each fold's models. What bagging the fold models gains, and how far an
official test split is from the pooled rows, is told apart.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from tests.benchmarks.known_data import joined, opened
from tests.members.plain_run import PlainRun

from quorate.data.dataset import Dataset
from quorate.data.splitting import make_folds
from quorate.ensemble.assemble import assemble
from quorate.ensemble.metrics import accuracy, nll
from quorate.plan.identity import derive_seed
from quorate.registry import COMBINERS, MEMBERS
from quorate.spec import ValidationSpec

KINDS: dict[str, dict[str, Any]] = {
    "forest": {"kind": "random_forest", "trees": 100},
    "trees": {"kind": "extra_trees", "trees": 100},
    "logistic": {"kind": "logistic"},
    "neighbours": {"kind": "knn"},
}
METRICS = {"accuracy": accuracy, "nll": nll}


@dataclass(frozen=True)
class Source:
    """Pooled rows, how many of them a split trains on, and the official split, if there is one."""

    pooled: Dataset
    train: int
    official: tuple[Dataset, Dataset]


def source(name: str) -> Source:
    train, test = opened(name)
    if name == "fashion":
        train = train.take(np.arange(10_000))
    return Source(joined(train, test), len(train), (train, test))


def differences(train: Dataset, test: Dataset, seed: int, *, k: int) -> dict[str, float]:
    """Estimate less test score, by member and metric; of the ensemble too, and what bagging changes."""
    folds = make_folds(train.y, ValidationSpec(scheme="kfold", folds=k), seed).folds
    oof = np.zeros((len(KINDS), len(train), train.n_classes), np.float32)
    said = np.zeros((len(KINDS), len(folds), len(test), train.n_classes), np.float32)
    for m, values in enumerate(KINDS.values()):
        kind = MEMBERS.get(values["kind"])
        for f, fold in enumerate(folds):
            member = kind(kind.Params.model_validate(values), signature=train.signature, n_classes=train.n_classes)
            member.fit(train.take(fold.train), train.take(fold.valid), PlainRun(seed=derive_seed(seed, m, f)))
            oof[m, fold.valid] = member.predict_proba(train.take(fold.valid).x)
            said[m, f] = member.predict_proba(test.x)
    combiner = COMBINERS.get("calibrated_greedy")
    mask = np.ones(oof.shape[:2], dtype=bool)
    made = assemble(proba=oof, mask=mask, y=train.y, combiner=combiner(combiner.Params()), seed=seed)
    found = {}
    for metric, score in METRICS.items():
        for m, name in enumerate(KINDS):
            own = np.mean([score(oof[m, fold.valid], train.y[fold.valid]) for fold in folds])
            found[f"{name} {metric}"] = float(own - np.mean([score(each, test.y) for each in said[m]]))
        single = np.mean([score(made.combination.apply(said[:, f]), test.y) for f in range(len(folds))])
        bagged = score(made.combination.apply(said.mean(axis=1)), test.y)
        found[f"ensemble {metric}"] = made.scores[metric] - float(single)
        found[f"bagging {metric}"] = float(bagged - single)
    return found


def splits(name: str, count: int, *, k: int) -> Iterator[dict[str, float]]:
    pool = source(name)
    for seed in range(count):
        order: NDArray[np.intp] = np.random.default_rng(seed).permutation(len(pool.pooled))
        train, test = pool.pooled.take(np.sort(order[: pool.train])), pool.pooled.take(np.sort(order[pool.train :]))
        yield differences(train, test, seed, k=k)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", choices=["digits", "adult", "fashion"])
    asked.add_argument("--splits", type=int, default=20)
    asked.add_argument("--folds", type=int, default=5)
    given = asked.parse_args()
    rows = []
    for number, found in enumerate(splits(given.data, given.splits, k=given.folds)):
        rows.append(found)
        print(number, json.dumps({key: round(value, 5) for key, value in found.items()}), flush=True)
    pool = source(given.data)
    shift = differences(*pool.official, 0, k=given.folds)
    print(f"\n{given.data}, {len(rows)} splits: estimate less test score, mean [95 % interval]; the official split")
    for key in rows[0]:
        values = [row[key] for row in rows]
        half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
        mean = float(np.mean(values))
        holds = "" if key.startswith("bagging") else "  holds 0" if abs(mean) <= half else "  DOES NOT HOLD 0"
        print(f"{key:22} {mean:+.5f} [{mean - half:+.5f}, {mean + half:+.5f}]{holds:18} {shift[key]:+.5f}")


if __name__ == "__main__":
    main()
