"""A small network of depthwise separable convolutions (Howard et al., 2017, MobileNets)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn


def separable(
    shape: tuple[int, int, int], n_classes: int, dropout: float, *, width: Annotated[int, Field(ge=4, le=512)] = 32
) -> nn.Module:
    """Three separable blocks, halved twice. `shape` is (H, W, C); what comes in is (n, C, H, W), out (n, n_classes)."""
    return nn.Sequential(
        nn.Conv2d(shape[2], width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        *_block(width, 2 * width),
        nn.MaxPool2d(2),
        *_block(2 * width, 2 * width),
        nn.MaxPool2d(2),
        *_block(2 * width, 4 * width),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(16 * width, n_classes),
    )


def _block(before: int, after: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False),
        nn.Conv2d(before, after, 1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    ]


separable.convolutional = True  # bfloat16 and channels_last where the hardware is faster with them
