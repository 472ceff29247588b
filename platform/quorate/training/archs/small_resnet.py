"""A residual network for small images (He et al., 2016, section 4.2), with configurable width and depth."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from quorate.registry import ARCHS, KindParams
from quorate.training.contracts import Architecture
from quorate.training.normalization import Norm, norm_layers


# The first stage of He et al. (2016) for CIFAR-10 has 16 channels. The default of `blocks` is an assumption, not a
# measurement: theirs are 3 or more.
class SmallResnetParams(KindParams):
    kind: Literal["small_resnet"] = "small_resnet"
    width: int = Field(16, ge=1, le=1024)
    """Number of channels of the first stage; each of the next two stages doubles them and halves the image."""
    blocks: int = Field(1, ge=1, le=50)
    """Number of residual blocks in each of the three stages."""
    norm: Norm = "batch"
    """Normalization after each convolution: `batch`, `group`, or `none`, which gives the convolution a bias."""


@ARCHS.register("small_resnet")
class SmallResnet(Architecture):
    """Three stages of basic blocks, global average pooling, and a linear layer."""

    Params = SmallResnetParams
    convolutional = True
    takes = frozenset({"image"})

    @staticmethod
    def build(params: SmallResnetParams, *, shape: tuple[int, int, int], n_classes: int, dropout: float) -> nn.Module:
        w = params.width
        stages: list[nn.Module] = []
        for before, after, stride in ((w, w, 1), (w, 2 * w, 2), (2 * w, 4 * w, 2)):
            stages.append(_Block(before, after, stride, params.norm))
            stages += [_Block(after, after, 1, params.norm) for _ in range(params.blocks - 1)]
        return nn.Sequential(
            *_convolution(shape[2], w, 3, 1, params.norm),
            nn.ReLU(),
            *stages,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(4 * w, n_classes),
        )


def _convolution(before: int, after: int, kernel: int, stride: int, norm: Norm) -> list[nn.Module]:
    """Return a convolution that keeps the image's size, or halves it, with its normalization."""
    convolution = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=norm == "none")
    return [convolution, *norm_layers(norm, after, nn.BatchNorm2d)]


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(before, after, 3, stride, norm), nn.ReLU(), *_convolution(after, after, 3, 1, norm)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(*_convolution(before, after, 1, stride, norm))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))
