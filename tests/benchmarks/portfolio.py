"""The portfolio for tables: what is each entry worth to the ensemble, and what does it cost?

`python -m tests.benchmarks.portfolio run FOLDER` trains members on five folds of random parts of the training rows of
five tables, and keeps their probabilities and core seconds in FOLDER, so that it can be ended and started again.
`python -m tests.benchmarks.portfolio table FOLDER` combines them and prints, per member:

- for the first entries of the portfolio: the ensemble of all of them less this member;
- for the others: the same ensemble with this member.

Both are changes of the log-loss in percent, as means over the splits of a table: the cross-fitted loss of the
out-of-fold rows, which a job sees, and the loss of the other training rows, which decides. A member belongs to the
first ones if the mean over the tables is better with it, in the order of the gain per core second. (docs/defaults.md
says where the portfolio differs from this rule.)
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from tests.benchmarks.known_data import opened, sample
from tests.members.plain_run import PlainRun
from tests.tiny import LAPTOP

from quorate.data.dataset import Dataset
from quorate.data.splitting import make_folds
from quorate.ensemble.assemble import assemble
from quorate.ensemble.metrics import nll
from quorate.plan.identity import derive_seed
from quorate.plan.portfolio import batch_size, portfolio
from quorate.registry import COMBINERS, MEMBERS
from quorate.spec import ValidationSpec

ROWS = {"soybean": 330, "vehicle": 420, "dna": 1200, "satellite": 1500, "letter": 2000}
"""Number of training rows; at most 2,000 of the others are the test rows."""
TEST_ROWS, FOLDS = 2000, 5
SPLITS = ["soybean-0", "soybean-1", "vehicle-0", "vehicle-1", "dna-0", "satellite-0", "letter-0"]
FIRST = ["lightgbm", "mlp_wide", "extra_trees", "catboost", "logistic", "svm", "extra_trees_smooth", "mlp", "boosting"]
OTHERS = ["forest", "lightgbm_random", "knn", "mlp_quantile"]
_ADAM = {"kind": "net", "optimizer": "adamw", "schedule": "one_cycle", "lr": 0.003, "dropout": 0.1, "epochs": 40}
_SMALL = {"kind": "piecewise_linear", "size": 8, "bins": 16}
CANDIDATES: dict[str, dict[str, Any]] = {
    "mlp_plr": {
        **_ADAM,
        "arch": {"kind": "mlp", "hidden": [256, 128], "embeddings": "periodic"},
        "standardize": "quantile",
    },
    "mlp_bins": {
        **_ADAM,
        "arch": {"kind": "mlp", "hidden": [256, 128], "embeddings": _SMALL},
        "standardize": "quantile",
    },
    "tabm_bins": {
        **_ADAM,
        "arch": {"kind": "tabm", "k": 8, "blocks": 2, "width": 128, "embeddings": _SMALL},
        "standardize": "quantile",
    },
    "tabm_plain": {
        **_ADAM,
        "arch": {"kind": "tabm", "k": 8, "blocks": 3, "width": 128, "variant": "full", "embeddings": "none"},
        "standardize": "feature",
    },
    "mlp_wide_long": {
        "kind": "net",
        "arch": {"kind": "mlp", "hidden": [400, 200]},
        "schedule": "one_cycle",
        "lr": 0.05,
        "dropout": 0.19,
        "standardize": "feature",
        "epochs": 80,
    },
}


def split(data: str, seed: int) -> tuple[Dataset, Dataset]:
    """The training rows and the test rows of one split."""
    whole = opened(data)[0]
    train, test = train_test_split(np.arange(len(whole)), train_size=ROWS[data], stratify=whole.y, random_state=seed)
    return whole.take(np.sort(train)), sample(whole.take(np.sort(test)), TEST_ROWS)


def members(train: Dataset) -> dict[str, dict[str, Any]]:
    """The members of the portfolio that are measured, then those that are not in it yet."""
    entries = {entry.name: entry.member("table", len(train)) for entry in portfolio(train.signature, len(train))}
    entries["catboost"] |= {"learning_rate": 0.1, "iterations": 400}  # to save time
    for name in ("mlp", "mlp_wide", "mlp_quantile"):
        entries[name] |= {"epochs": 40}
    return {name: entries[name] for name in (*FIRST, *OTHERS)} | {
        name: {"batch_size": 64, **batch_size(len(train)), **params} for name, params in CANDIDATES.items()
    }


def measure(split_name: str, folder: Path, names: Iterable[str]) -> None:
    """Train the members of one split and write the probabilities of each: `oof` (N, K) and `test` (folds, n, K)."""
    data, seed = split_name.split("-")[0], int(split_name.split("-")[1])
    train, test = split(data, seed)
    folds = make_folds(train.y, ValidationSpec(scheme="kfold", folds=FOLDS), seed).folds
    wanted = members(train)
    for name in names:
        file = folder / f"{split_name}-{FOLDS}-{name}.npz"
        if file.exists():
            continue
        kind = MEMBERS.get(wanted[name]["kind"])
        params = kind.Params.model_validate(wanted[name])
        oof = np.zeros((len(train), train.n_classes), np.float32)
        found = np.zeros((FOLDS, len(test), train.n_classes), np.float32)
        begun = time.process_time()
        for f, fold in enumerate(folds):
            rows = train.take(fold.train)
            numerics = kind.numerics(params, signature=train.signature, rows=len(rows), hardware=LAPTOP)
            member = kind(params, signature=train.signature, n_classes=train.n_classes)
            member.fit(rows, train.take(fold.valid), PlainRun(derive_seed(seed, list(wanted).index(name), f), numerics))
            oof[fold.valid] = member.predict_proba(train.take(fold.valid).x)
            found[f] = member.predict_proba(test.x)
        seconds = time.process_time() - begun
        estimate = FOLDS * kind.cost(params, signature=train.signature, rows=len(rows), n_classes=train.n_classes)
        np.savez_compressed(file, oof=oof, test=found, y=train.y, test_y=test.y, sec=seconds)
        print(f"{file.stem}: {seconds:.1f} core seconds, {estimate:.1f} estimated", flush=True)


Arrays = Mapping[str, Any]


def losses(members: Mapping[str, Arrays]) -> tuple[float, float]:
    """The cross-fitted loss and the test loss of the ensemble of these members."""
    arrays = list(members.values())
    kind = COMBINERS.get("calibrated_greedy")
    proba = np.stack([each["oof"] for each in arrays])
    made = assemble(
        proba=proba,
        mask=np.ones(proba.shape[:2], dtype=bool),
        y=arrays[0]["y"],
        combiner=kind(kind.Params.model_validate({"kind": "calibrated_greedy"})),
        seed=0,
    )
    found = made.combination.apply(np.stack([each["test"].mean(axis=0) for each in arrays]))
    return made.scores["nll"], nll(found, arrays[0]["test_y"])


def table(folder: Path) -> None:
    changes: dict[str, dict[str, list[Any]]] = {}
    for split_name in SPLITS:
        found = {}
        for file in sorted(folder.glob(f"{split_name}-{FOLDS}-*.npz")):
            with np.load(file) as arrays:
                found[file.stem.split("-", 3)[3]] = dict(arrays)
        first = {name: found[name] for name in FIRST}
        base = losses(first)
        print(f"{split_name}: {base[0]:.4f} cross-fitted, {base[1]:.4f} on the test rows", flush=True)
        for name in found:
            without = {other: each for other, each in first.items() if other != name}
            now = losses(without if name in first else {**first, name: found[name]})
            change = [100 * float(np.log(b / a)) for a, b in zip(base, now, strict=True)]
            row = changes.setdefault(name, {}).setdefault(split_name.split("-")[0], [])
            row.append((*change, float(found[name]["sec"])))
    print(f"| member | {' | '.join(ROWS)} | mean | core seconds |")
    for name, by_data in changes.items():
        means = {data: np.mean(rows, axis=0) for data, rows in by_data.items()}
        cells = [f"{means[data][0]:+.1f} / {means[data][1]:+.1f}" if data in means else "" for data in ROWS]
        mean = np.mean(list(means.values()), axis=0)
        sign = "without" if name in FIRST else "with"
        print(f"| {sign} {name} | {' | '.join(cells)} | {mean[0]:+.1f} / {mean[1]:+.1f} | {mean[2]:.0f} |")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("what", choices=["run", "table"])
    asked.add_argument("folder", type=Path)
    asked.add_argument("--splits", nargs="*", default=SPLITS)
    asked.add_argument("--members", nargs="*", default=[*FIRST, *OTHERS, *CANDIDATES])
    given = asked.parse_args()
    if given.what == "table":
        table(given.folder)
        return
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    for split_name in given.splits:
        measure(split_name, given.folder, given.members)


if __name__ == "__main__":
    main()
