"""A network of three convolutions for images of 8 to 64 pixels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from quorate.registry import ARCHS, KindParams
from quorate.training.contracts import Architecture
from quorate.training.normalization import Norm, norm_layers


# The default of `width` is an assumption, not a measurement.
class SmallCnnParams(KindParams):
    kind: Literal["small_cnn"] = "small_cnn"
    width: int = Field(32, ge=1, le=1024)
    """Number of channels of the first convolution; the next two have twice as many."""
    norm: Norm = "batch"
    """Normalization after each convolution: `batch`, `group`, or `none`, which gives the convolution a bias."""


@ARCHS.register("small_cnn")
class SmallCnn(Architecture):
    """Three blocks of convolution, normalization and ReLU, then a linear layer; the image is halved twice."""

    Params = SmallCnnParams
    convolutional = True
    takes = frozenset({"image"})

    @staticmethod
    def build(params: SmallCnnParams, *, shape: tuple[int, int, int], n_classes: int, dropout: float) -> nn.Module:
        def block(before: int, after: int) -> list[nn.Module]:
            convolution = nn.Conv2d(before, after, 3, padding=1, bias=params.norm == "none")
            return [convolution, *norm_layers(params.norm, after, nn.BatchNorm2d), nn.ReLU()]

        height, width, channels = shape
        w = params.width
        return nn.Sequential(
            *block(channels, w),
            *([nn.MaxPool2d(2)] if min(height, width) >= 2 else []),
            *block(w, 2 * w),
            *([nn.MaxPool2d(2)] if min(height, width) >= 4 else []),
            *block(2 * w, 2 * w),
            nn.AdaptiveAvgPool2d(2 if min(height, width) >= 8 else 1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * w * (4 if min(height, width) >= 8 else 1), n_classes),
        )
