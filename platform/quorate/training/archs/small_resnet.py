"""A residual network for small images (He et al., 2016, section 4.2), with a free width and depth."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from quorate.kinds import ARCHS, KindParams


class SmallResnetParams(KindParams):
    kind: Literal["small_resnet"] = "small_resnet"
    width: int = Field(16, ge=1, le=1024)
    """Channels of the first stage; each of the next two doubles them and halves the image."""
    blocks: int = Field(1, ge=1, le=50)
    """Residual blocks in each of the three stages."""


@ARCHS.register("small_resnet")
class SmallResnet:
    """Three stages of basic blocks, global average pooling, a linear layer."""

    Params = SmallResnetParams
    convolutional = True
    takes = frozenset({"image"})

    @staticmethod
    def build(params: SmallResnetParams, *, shape: tuple[int, int, int], n_classes: int, dropout: float) -> nn.Module:
        w = params.width
        stages: list[nn.Module] = []
        for before, after, stride in ((w, w, 1), (w, 2 * w, 2), (2 * w, 4 * w, 2)):
            stages.append(_Block(before, after, stride))
            stages += [_Block(after, after, 1) for _ in range(params.blocks - 1)]
        return nn.Sequential(
            nn.Conv2d(shape[2], w, 3, padding=1, bias=False),
            nn.BatchNorm2d(w),
            nn.ReLU(),
            *stages,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(4 * w, n_classes),
        )


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))
