"""A finished job whose ensemble can be distilled, and two of whose networks began from the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tests.jobs import Here

from quorate.registry import ARCHS

TUNED = {"kind": "net", "arch": {"kind": "mlp", "hidden": [16]}, "epochs": 3, "weights": "start.safetensors"}
TEACHERS: dict[str, Any] = {
    "name": "teachers",
    "data": {"kind": "digits", "limit": 240},
    "validation": {"folds": 2},
    "members": {
        "svm": {"kind": "svm", "C": 10},
        "slow": {**TUNED, "lr": 0.04},
        "fast": {**TUNED, "lr": 0.05, "augment": {"crop": 1}},
        "other": {"kind": "net", "arch": {"kind": "mlp", "hidden": [8]}, "epochs": 1},
        "fresh": {"kind": "net", "arch": {"kind": "mlp", "hidden": [16]}, "epochs": 1},
    },
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


def run_teachers(folder: Path) -> Here:
    """The finished job in `folder`, its store at `store`."""
    torch.manual_seed(0)
    arch = ARCHS.get("mlp")
    params = arch.Params.model_validate(TUNED["arch"])
    start = arch.build(params, shape=(8, 8, 1), n_classes=10, dropout=0.0)
    save_file(start.state_dict(), folder / "start.safetensors")
    here = Here(folder)
    here.run(TEACHERS)
    return here
