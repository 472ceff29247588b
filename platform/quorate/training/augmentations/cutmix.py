"""CutMix: paste a rectangle from one image into another, and mix the labels in proportion to the areas."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn
from torchvision.transforms import v2

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.contracts import Augmentation


class CutmixParams(KindParams):
    kind: Literal["cutmix"] = "cutmix"
    alpha: float = Field(1, ge=0.01, le=100)
    """The fraction of the first image is drawn from Beta(alpha, alpha); 1 makes all fractions equally likely (Yun et
    al., 2019)."""
    probability: float = Field(1, gt=0, le=1)
    """Fraction of the batches that are mixed (Yun et al. use 0.5 for CIFAR, 1 for ImageNet)."""


@AUGMENTATIONS.register("cutmix")
class Cutmix(Augmentation):
    """torchvision's CutMix: a rectangle comes from another image, with a proportional part of the label (Yun et al.,
    2019)."""

    Params = CutmixParams
    main = "alpha"
    mixes = True

    @staticmethod
    def probability(params: CutmixParams) -> float:
        return params.probability

    @staticmethod
    def build(params: CutmixParams) -> nn.Module:
        mixing: nn.Module = v2.CutMix(alpha=params.alpha)
        return mixing
