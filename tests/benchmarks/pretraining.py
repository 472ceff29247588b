"""Pretraining against none where labels are few: 500 of 10,000 rows of Fashion-MNIST have one, five seeds, paired.

`python -m tests.benchmarks.pretraining` prints the table of docs/training/transfer.md; `--trial` does the same in
small on rows that the table does not use, where its settings were chosen.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from quorate.data.dataset import ArrayImages, Dataset, Images
from quorate.data.sources.npz import read_images, read_labels
from quorate.ensemble.metrics import scores
from quorate.execution.hardware import this_hardware
from quorate.members.net import Net, NetParams
from quorate.training.context import Metrics, Numerics, Signal

FOLDER = Path(os.environ.get("QUORATE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "fashion_mnist"
LABELLED = 500

TRAINING = {"epochs": 40, "batch_size": 32, "lr": 0.05, "schedule": "one_cycle", "augment": {"crop": 2}}
SIMCLR = {
    "kind": "simclr",
    "epochs": 20,
    "batch_size": 64,
    "lr": 2e-3,
    "temperature": 0.2,
    "least_area": 0.3,
    "mirror": True,
}
RECIPES: dict[str, dict[str, Any]] = {
    "none": TRAINING,
    "simclr": {**TRAINING, "pretrain": SIMCLR},
    "autoencoder": {**TRAINING, "pretrain": {"kind": "autoencoder", "epochs": 20, "batch_size": 64}},
}


@dataclass
class _Run:
    """A task context that ignores reports."""

    seed: int
    numerics: Numerics
    unlabelled: Images | None
    deadline = None
    restored = None

    def report(self, metrics: Metrics | None, state: Any, so_far: Any = None) -> Signal:
        return Signal.CONTINUE

    def asset(self, path: Path) -> Path:
        return path


@dataclass(frozen=True)
class Rows:
    """The block whose rows are labelled or not, and the rows to test on."""

    block: Dataset
    test: Dataset

    def split(self, seed: int) -> tuple[Dataset, Images]:
        """500 rows with a label, as many of each class, and the others without theirs."""
        order = np.random.default_rng(seed).permutation(len(self.block))
        each = LABELLED // self.block.n_classes
        chosen = np.concatenate([order[self.block.y[order] == k][:each] for k in range(self.block.n_classes)])
        others = np.setdiff1d(order, chosen)
        return self.block.take(chosen), self.block.x.subset(others)


def read(name: str) -> Dataset:
    classes = tuple((FOLDER / "classes.txt").read_text(encoding="utf-8").split("\n")[:10])
    return Dataset(
        ArrayImages(read_images(FOLDER / f"{name}.npz")), read_labels(FOLDER / f"{name}.npz").astype(np.int64), classes
    )


def measured(recipe: Mapping[str, Any], rows: Rows, *, arch: str, seed: int) -> dict[str, float]:
    """Accuracy, NLL and seconds of one network; `seed` decides the labelled rows and every draw."""
    train, unlabelled = rows.split(seed)
    params = NetParams.model_validate({"arch": arch, **recipe})
    signature = train.signature
    numerics = Net.numerics(params, signature=signature, rows=len(train), hardware=this_hardware())
    since = time.perf_counter()
    net = Net(params, signature=signature, n_classes=train.n_classes)
    net.fit(train, train.take(np.arange(50)), _Run(seed, numerics, unlabelled))
    seconds = time.perf_counter() - since
    found = scores(net.predict_proba(rows.test.x), rows.test.y)
    return {"accuracy": found["accuracy"], "nll": found["nll"], "seconds": seconds}


def interval(values: list[float]) -> str:
    """Mean and 95 % interval of Student's t."""
    mean, half = float(np.mean(values)), 0.0
    if len(values) > 1:
        half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
    return f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seeds", type=int, default=5)
    asked.add_argument("--arch", default="small_resnet")
    asked.add_argument("--recipes", nargs="*", default=["none", "simclr"], choices=list(RECIPES))
    asked.add_argument("--trial", action="store_true", help="on rows 20,000 to 30,000, in small")
    asked.add_argument(
        "--set", action="append", default=[], metavar="KEY=NUMBER", help="of the pretraining, in a trial"
    )
    given = asked.parse_args()
    torch.set_num_threads(1)
    whole = read("train")
    if given.trial:
        rows = Rows(whole.take(np.arange(20_000, 24_000)), whole.take(np.arange(27_000, 30_000)))
    else:
        rows = Rows(whole.take(np.arange(10_000)), read("test"))
    changes = {
        key: float(value) if "." in value else int(value) for key, _, value in (x.partition("=") for x in given.set)
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in given.recipes}
    for seed in range(given.seeds):
        for name in given.recipes:
            recipe = RECIPES[name]
            if changes and "pretrain" in recipe:
                recipe = {**recipe, "pretrain": {**recipe["pretrain"], **changes}}
            found[name].append(measured(recipe, rows, arch=given.arch, seed=seed))
            print(seed, name, {key: round(value, 4) for key, value in found[name][-1].items()}, flush=True)
    print("\n| pretraining | accuracy | NLL | against none: accuracy | against none: NLL | seconds |")
    print("|---|---|---|---|---|---|")
    for name, rows_of in found.items():
        means = [f"{np.mean([row[key] for row in rows_of]):.4f}" for key in ("accuracy", "nll")]
        paired = [
            ""
            if name == "none" or "none" not in found
            else interval([row[key] - plain[key] for row, plain in zip(rows_of, found["none"], strict=True)])
            for key in ("accuracy", "nll")
        ]
        print(f"| {name} | {' | '.join(means + paired)} | {np.mean([row['seconds'] for row in rows_of]):.0f} |")


if __name__ == "__main__":
    main()
