"""Networks with convolutions that oneDNN computes wrongly channels last, and a program that trains them.

`python -m tests.training.narrow_networks` trains each three times and prints the digests of its results as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from quorate.data.dataset import ArrayImages, Dataset
from quorate.registry import MEMBERS
from quorate.training.context import Hardware, Numerics, Signal

HERE = "tests.training.narrow_networks"


def _classifier(body: nn.Module, width: int, n_classes: int) -> nn.Module:
    return nn.Sequential(body, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, n_classes))


def _convolutional(build: Any) -> Any:
    build.convolutional = True
    return build


class _ByFunction(nn.Module):
    """A strided 1x1 convolution that is called as a function, not as a layer."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, 1, 1) / before**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, self.weight, stride=2)


@_convolutional
def by_function(shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    stem = nn.Conv2d(shape[2], 12, 3, padding=1)
    return _classifier(nn.Sequential(stem, nn.ReLU(), _ByFunction(12, 24)), 24, n_classes)


@_convolutional
def transposed(shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    stem = nn.Conv2d(shape[2], 24, 3, padding=1)
    return _classifier(
        nn.Sequential(stem, nn.ReLU(), nn.ConvTranspose2d(24, 8, 1, stride=2, output_padding=1)), 8, n_classes
    )


@_convolutional
def depthwise(shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    stem = nn.Conv2d(shape[2], 8, 3, padding=1)
    layers = [nn.Conv2d(8, 8, 1, stride=2, groups=8), nn.Conv2d(8, 32, 3, groups=8, padding=1)]
    return _classifier(nn.Sequential(stem, nn.ReLU(), *layers), 32, n_classes)


@_convolutional
def grouped(shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    stem = nn.Conv2d(shape[2], 24, 3, padding=1)
    return _classifier(nn.Sequential(stem, nn.ReLU(), nn.Conv2d(24, 48, 1, stride=2, groups=3)), 48, n_classes)


@_convolutional
def one_axis(shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    stem = nn.Conv2d(shape[2], 10, 3, padding=1)
    return _classifier(nn.Sequential(stem, nn.ReLU(), nn.Conv2d(10, 7, 1, stride=(1, 2))), 7, n_classes)


NETWORKS: dict[str, tuple[Any, tuple[int, int, int], bool]] = {
    "width 8": ({"kind": "small_resnet", "width": 8}, (64, 64, 3), True),
    "width 12": ({"kind": "small_resnet", "width": 12}, (64, 64, 3), True),
    "width 5, odd sides": ({"kind": "small_resnet", "width": 5}, (61, 83, 3), True),
    "by a function": (f"{HERE}:by_function", (64, 64, 3), True),
    "transposed": (f"{HERE}:transposed", (64, 64, 3), True),
    "one axis": (f"{HERE}:one_axis", (48, 48, 3), True),
    "depthwise": (f"{HERE}:depthwise", (64, 64, 3), False),
    "grouped": (f"{HERE}:grouped", (64, 64, 3), False),
    "width 16": ({"kind": "small_resnet", "width": 16}, (64, 64, 3), False),
    "wide": ("timm/resnet10t", (64, 64, 3), False),
}
"""An architecture, the shape of its images, and whether it must not run channels last on a CPU."""
TRAINED = [name for name in NETWORKS if name not in ("width 16", "wide")]


class _Alone:
    """A task context that ignores reports."""

    seed, deadline, restored, unlabelled = 1, None, None, None

    def __init__(self, numerics: Numerics) -> None:
        self.numerics = numerics

    def report(self, *_: Any) -> Signal:
        return Signal.CONTINUE


def train(name: str, precision: str) -> str:
    """The SHA-256 of the trained network's predictions and metrics, with the numerical settings that the plan would
    choose."""
    arch, shape, _ = NETWORKS[name]
    y = np.arange(16) % 2
    pixels = np.random.default_rng(0).integers(0, 255, (16, *shape)).astype(np.uint8)
    data = Dataset(ArrayImages(pixels), y.astype(np.int64), ("a", "b"))
    net = MEMBERS.get("net")
    params = net.Params.model_validate(
        {"kind": "net", "arch": arch, "epochs": 1, "batch_size": 8, "precision": precision}
    )
    hardware = Hardware(cores=2, gpus=0, fast_bfloat16=True, cpu="")
    numerics = net.numerics(params, signature=data.signature, rows=len(data), hardware=hardware)
    member = net(params, signature=data.signature, n_classes=2).fit(data, data, _Alone(numerics))
    content = hashlib.sha256(member.predict_proba(data.x).tobytes())
    for figures in member.history:
        content.update(repr([(key, value) for key, value in sorted(figures.items()) if key != "seconds"]).encode())
    return content.hexdigest()


if __name__ == "__main__":
    print(json.dumps({name: [train(name, sys.argv[1]) for _ in range(3)] for name in TRAINED}))
