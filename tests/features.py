"""A tiny frozen network with weights made here, and jobs of members that learn from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file

ARCH = "timm/test_resnet"


def write_weights(path: Path, *, arch: str = "test_resnet", seed: int = 0) -> Path:
    """Random weights of a whole classifier in timm's names, its batch statistics as if it had been trained."""
    torch.manual_seed(seed)
    network = timm.create_model(arch, num_classes=1000)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


def job(weights: Path, *, members: dict[str, dict[str, Any]], limit: int = 120, **rest: Any) -> dict[str, Any]:
    """Members on the features of 32x32 digits, two folds, in this process."""
    features = {"arch": ARCH, "weights": str(weights), "size": 32}
    return {
        "name": "features",
        "data": {"kind": "digits", "limit": limit},
        "validation": {"folds": 2},
        "members": {name: {"features": features, **member} for name, member in members.items()},
        "execution": {"executor": "local"},
        "tracking": {"enabled": False},
        **rest,
    }
