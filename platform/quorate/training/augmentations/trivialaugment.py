"""TrivialAugment: one operation of random strength."""

from __future__ import annotations

from typing import Literal

import torch
from torchvision.transforms import v2

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.augmentations.randaugment import check_channels
from quorate.training.contracts import Augmentation
from quorate.training.random_transforms import drawn


class TrivialAugmentParams(KindParams):
    kind: Literal["trivialaugment"] = "trivialaugment"


@AUGMENTATIONS.register("trivialaugment")
class TrivialAugment(Augmentation):
    """torchvision's TrivialAugmentWide: one operation of random strength, without parameters (Müller and Hutter,
    2021)."""

    Params = TrivialAugmentParams
    main = None

    @staticmethod
    def check(params: TrivialAugmentParams, shape: tuple[int, int, int]) -> None:
        check_channels(shape)

    @staticmethod
    def apply(
        params: TrivialAugmentParams, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None
    ) -> torch.Tensor:
        transform = v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)
        return drawn(transform, pixels, generator, shared=shared)
