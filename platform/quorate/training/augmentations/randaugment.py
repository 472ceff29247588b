"""RandAugment: a few operations of one strength, drawn from a fixed list."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torchvision.transforms import v2

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.contracts import Augmentation
from quorate.training.random_transforms import drawn

LEVELS = 31
"""Number of magnitudes, counted from 0 to 30 as in Cubuk et al. (2020)."""


# The defaults are those of torchvision's `RandAugment`.
class RandAugmentParams(KindParams):
    kind: Literal["randaugment"] = "randaugment"
    magnitude: int = Field(9, ge=0, lt=LEVELS)
    """Strength of the operations, from 0 to 30 (Cubuk et al., 2020, use 9 for ResNet-50 on ImageNet)."""
    operations: int = Field(2, ge=1, le=10)
    """Number of operations that are applied one after another."""


@AUGMENTATIONS.register("randaugment")
class RandAugment(Augmentation):
    """torchvision's RandAugment: several random operations of one magnitude (Cubuk et al., 2020)."""

    Params = RandAugmentParams
    main = "magnitude"

    @staticmethod
    def check(params: RandAugmentParams, shape: tuple[int, int, int]) -> None:
        check_channels(shape)

    @staticmethod
    def apply(
        params: RandAugmentParams, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None
    ) -> torch.Tensor:
        transform = v2.RandAugment(
            num_ops=params.operations,
            magnitude=params.magnitude,
            num_magnitude_bins=LEVELS,
            interpolation=v2.InterpolationMode.BILINEAR,
        )
        return drawn(transform, pixels, generator, shared=shared)


def check_channels(shape: tuple[int, int, int]) -> None:
    """Raise `ValueError` for images without 1 or 3 channels: some operations change colours."""
    if shape[2] not in (1, 3):
        raise ValueError(f"its operations need 1 or 3 channels, and these images have {shape[2]}; leave it out")
