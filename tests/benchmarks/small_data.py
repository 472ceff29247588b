"""Fewer than 1,000 rows: is the ensemble worse than its best member on the test rows, and is its estimate honest?

`python -m tests.benchmarks.small_data run FOLDER` trains the members on the folds of ten random splits of each data
set, and keeps their probabilities in FOLDER, so that it can be ended and started again. `python -m
tests.benchmarks.small_data table FOLDER` combines them and prints, as means over the splits with 95 % intervals
(Student's t):

- the test log-loss of the ensemble less that of its best member, where the best member is the one with the lowest mean
  test log-loss over the splits of this data set, after its temperature: a member that no user could name beforehand;
- the same for the member that is best on the out-of-fold rows of each split;
- the ensemble's cross-fitted log-loss less that of the same combination of each fold's models on the test rows.

The ensemble and the members predict with the mean of their fold models, as a bundle does.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.model_selection import train_test_split
from tests.benchmarks.known_data import joined, opened, sample
from tests.members.plain_run import PlainRun
from tests.tiny import LAPTOP

from quorate.data.dataset import Dataset
from quorate.data.splitting import make_folds
from quorate.ensemble.assemble import assemble
from quorate.ensemble.metrics import nll
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature
from quorate.plan.identity import derive_seed
from quorate.registry import COMBINERS, MEMBERS
from quorate.spec import ValidationSpec

SETS = {"soybean": None, "vehicle": None, "adult": 500, "satellite": 500, "letter": 500, "dna": 500}
"""Number of training rows; None takes 70 % of all rows."""
TEST_ROWS = 1000
SPLITS, FOLDS = 10, 3
MEMBER_PARAMS: dict[str, dict[str, Any]] = {
    "boosting": {
        "kind": "gradient_boosting",
        "learning_rate": 0.2,
        "leaves": 15,
        "max_features": 0.5,
        "iterations": 60,
        "patience": 10,
    },
    "logistic": {"kind": "logistic", "C": "auto"},
    "svm": {"kind": "svm", "C": "auto", "calibration": "temperature"},
    "extra_trees": {
        "kind": "extra_trees",
        "trees": 50,
        "min_samples_leaf": "auto",
        "max_features": "auto",
        "smoothing": 1,
    },
    "forest": {"kind": "random_forest", "trees": 50, "smoothing": 1},
}
"""Cheap forms of the members that `quorate init` writes for a table of this size, without the network."""


def split(data: str, seed: int) -> tuple[Dataset, Dataset]:
    """The training rows and the test rows of one split."""
    whole = joined(*opened(data))
    size = SETS[data] or round(0.7 * len(whole))
    train, test = train_test_split(np.arange(len(whole)), train_size=size, stratify=whole.y, random_state=seed)
    return whole.take(np.sort(train)), sample(whole.take(np.sort(test)), TEST_ROWS)


def measure(data: str, seed: int, file: Path) -> None:
    """Train the members and write their probabilities: `oof` (M, N, K), `test` (M, folds, n, K)."""
    train, test = split(data, seed)
    folds = make_folds(train.y, ValidationSpec(scheme="kfold", folds=FOLDS), seed).folds
    oof = np.zeros((len(MEMBER_PARAMS), len(train), train.n_classes), np.float32)
    found = np.zeros((len(MEMBER_PARAMS), FOLDS, len(test), train.n_classes), np.float32)
    for m, values in enumerate(MEMBER_PARAMS.values()):
        kind = MEMBERS.get(values["kind"])
        params = kind.Params.model_validate(values)
        for f, fold in enumerate(folds):
            rows = train.take(fold.train)
            numerics = kind.numerics(params, signature=train.signature, rows=len(rows), hardware=LAPTOP)
            member = kind(params, signature=train.signature, n_classes=train.n_classes)
            member.fit(rows, train.take(fold.valid), PlainRun(derive_seed(seed, m, f), numerics))
            oof[m, fold.valid] = member.predict_proba(train.take(fold.valid).x)
            found[m, f] = member.predict_proba(test.x)
    np.savez_compressed(file, oof=oof, test=found, y=train.y, test_y=test.y)


Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Outcome:
    """Log-losses of one split."""

    ensemble: float
    members: NDArray[np.float64]
    """Test log-losses (M,) after the members' temperatures."""
    chosen: int
    """The member that is best on the out-of-fold rows."""
    optimism: float
    """The estimate less the test loss of the combination of single fold models."""
    guarded: bool


def outcome(arrays: Arrays, seed: int, combiner: str | dict[str, Any] = "calibrated_greedy") -> Outcome:
    oof, test, y, test_y = (arrays[name] for name in ("oof", "test", "y", "test_y"))
    values = {"kind": combiner} if isinstance(combiner, str) else combiner
    kind = COMBINERS.get(values["kind"])
    mask = np.ones(oof.shape[:2], dtype=bool)
    made = assemble(proba=oof, mask=mask, y=y, combiner=kind(kind.Params.model_validate(values)), seed=seed)
    bagged = test.mean(axis=1)
    members = []
    for m in range(len(oof)):
        temperature = fit_temperature(proba=oof[m], y=y)
        members.append(nll(apply_temperature(proba=bagged[m], temperature=temperature), test_y))
    single = np.mean([nll(made.combination.apply(test[:, f]), test_y) for f in range(test.shape[1])])
    ensemble = nll(made.combination.apply(bagged), test_y)
    return Outcome(
        ensemble, np.array(members), made.best_single, made.scores["nll"] - float(single), guarded=made.guarded
    )


def interval(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
    return f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"


def table(folder: Path, combiner: str) -> None:
    names = list(MEMBER_PARAMS)
    heads = ("data", "ensemble", "best member", "difference", "from the chosen one", "estimate less test", "alone")
    print(f"| {' | '.join(heads)} |")
    for data in SETS:
        files = sorted(folder.glob(f"{data}-*.npz"))
        if len(files) < 2:
            continue
        outcomes = []
        for seed, file in enumerate(files):
            with np.load(file) as arrays:
                outcomes.append(outcome(arrays, seed, combiner))
        losses = np.array([one.members for one in outcomes])
        best = int(losses.mean(axis=0).argmin())
        cells = [
            f"{data} ({len(files)} splits)",
            f"{np.mean([one.ensemble for one in outcomes]):.4f}",
            f"{names[best]} {losses[:, best].mean():.4f}",
            interval([one.ensemble - one.members[best] for one in outcomes]),
            interval([one.ensemble - one.members[one.chosen] for one in outcomes]),
            interval([one.optimism for one in outcomes]),
            f"{sum(one.guarded for one in outcomes)}",
        ]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("what", choices=["run", "table"])
    asked.add_argument("folder", type=Path)
    asked.add_argument("--data", nargs="*", default=list(SETS))
    asked.add_argument("--combiner", default="calibrated_greedy")
    given = asked.parse_args()
    if given.what == "table":
        table(given.folder, given.combiner)
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(SPLITS):
        for data in given.data:
            file = given.folder / f"{data}-{seed}.npz"
            if not file.exists():
                measure(data, seed, file)
                print(file, flush=True)


if __name__ == "__main__":
    main()
