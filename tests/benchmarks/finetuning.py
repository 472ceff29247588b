"""Compare recipes for fine-tuning on few photographs: `python -m tests.benchmarks.finetuning PHOTOS WEIGHTS`.

PHOTOS is a folder with one folder per class, WEIGHTS a weights file that is named after its network. Only training rows
are used: a part of them is held out for validation. Each recipe is one change of the first one. The table shows the
accuracy and the log-loss after temperature scaling on the validation rows, and the difference of the log-loss to the
first recipe with its standard error.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from quorate.autoconfig.image_members import FINETUNING
from quorate.ensemble.temperature_scaling import fit_temperature
from quorate.members.weights_names import arch_of_file
from quorate.runs.folder import RunFolder

RECIPES: dict[str, dict[str, Any]] = {
    "base": {},
    "layer_decay-75": {"layer_decay": 0.75, "finetune": {"head_epochs": 1, "backbone_lr": 1}},
    "layer_decay-90": {"layer_decay": 0.9, "finetune": {"head_epochs": 1, "backbone_lr": 1}},
    "ema": {"ema": 0.99},
    "mixup": {"mix": {"mixup": 0.2}},
    "cutmix": {"mix": {"cutmix": {"probability": 0.5}}},
    "warmup": {"schedule": {"kind": "cosine", "warmup": 1}},
    "tta": {"tta": {"augment": {"mirror": True}, "passes": 2}},
    "backbone-1": {"finetune": {"head_epochs": 1, "backbone_lr": 1}},
    "backbone-10th": {"finetune": {"head_epochs": 1, "backbone_lr": 0.1}},
    "no-smoothing": {"label_smoothing": 0.0},
    "lr-1e-3": {"lr": 1e-3},
}
"""What each recipe changes; `mix` is added to its augmentation."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--limit", type=int, default=1000, help="number of photographs")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=Path("finetuning"), help="for the job, its store and its run")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    path = given.folder / "job.yaml"
    path.write_text(yaml.safe_dump(job(given), sort_keys=False), encoding="utf-8")
    places = ["--store", str(given.folder / "store"), "--runs", str(given.folder / "runs")]
    subprocess.run([sys.executable, "-m", "quorate", "train", str(path), *places], check=True)
    show(RunFolder.find(None, given.folder / "runs"))


def job(given: argparse.Namespace) -> dict[str, Any]:
    """A job with one member for each recipe."""
    augment = {"mirror": True, "crop": given.side // 16}
    base = {
        "kind": "net",
        "arch": arch_of_file(given.weights),
        "weights": str(given.weights.absolute()),
        "epochs": given.epochs,
        "batch_size": 32,
        **FINETUNING,
    }
    members = {}
    for name, change in RECIPES.items():
        plain = {key: value for key, value in change.items() if key != "mix"}
        members[name] = {**base, **plain, "augment": {**augment, **change.get("mix", {})}}
    return {
        "name": "finetuning",
        "data": {
            "kind": "image_folder",
            "train": str(given.photos.absolute()),
            "size": given.side,
            "limit": given.limit,
        },
        "validation": {"scheme": "holdout", "fraction": 0.4},
        "members": members,
        "tracking": {"enabled": False},
    }


def show(run: RunFolder) -> None:
    arrays, names = run.arrays("oof.npz"), [row.name for row in run.board().members]
    losses: dict[str, np.ndarray] = {}
    for place, name in enumerate(names):
        rows = arrays["mask"][place]
        proba, y = arrays["proba"][place][rows].astype(np.float64), arrays["y"][rows]
        scaled = proba.clip(1e-12) ** (1 / fit_temperature(proba=proba, y=y))
        picked = scaled[np.arange(len(y)), y] / scaled.sum(axis=1)
        losses[name] = -np.log(picked)
        change = losses[name] - losses["base"]
        error = change.std() / len(change) ** 0.5
        accuracy = float((proba.argmax(axis=1) == y).mean())
        print(f"{name:<16} {accuracy:.4f} {losses[name].mean():.4f} {change.mean():+.4f} +- {error:.4f}")


if __name__ == "__main__":
    main()
