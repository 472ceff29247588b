"""Mixup: weighted means of two images and of their labels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn
from torchvision.transforms import v2

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.contracts import Augmentation


class MixupParams(KindParams):
    kind: Literal["mixup"] = "mixup"
    alpha: float = Field(0.2, ge=0.01, le=100)
    """The fraction of the first image is drawn from Beta(alpha, alpha): small values mix little (Zhang et al., 2018,
    use 0.1 to 0.4 for ImageNet, 1 for CIFAR)."""
    probability: float = Field(1, gt=0, le=1)
    """Fraction of the batches that are mixed."""


@AUGMENTATIONS.register("mixup")
class Mixup(Augmentation):
    """torchvision's MixUp: each image is a mean of two, and so is its label (Zhang et al., 2018)."""

    Params = MixupParams
    main = "alpha"
    mixes = True

    @staticmethod
    def probability(params: MixupParams) -> float:
        return params.probability

    @staticmethod
    def build(params: MixupParams) -> nn.Module:
        mixing: nn.Module = v2.MixUp(alpha=params.alpha)
        return mixing
