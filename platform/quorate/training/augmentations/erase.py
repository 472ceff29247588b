"""Random erasing of rectangles, with cutout as a special case."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torchvision.transforms import v2

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.contracts import Augmentation
from quorate.training.random_transforms import drawn


# The defaults are those of torchvision's `RandomErasing`.
class EraseParams(KindParams):
    kind: Literal["erase"] = "erase"
    probability: float = Field(0.5, gt=0, le=1)
    """Fraction of the images that lose a rectangle."""
    least: float = Field(0.02, gt=0, lt=1)
    """Minimum area of the rectangle, as a fraction of the image (Zhong et al., 2020)."""
    most: float = Field(0.33, gt=0, lt=1)
    """Maximum area of the rectangle, as a fraction of the image."""
    aspect: float = Field(0.3, gt=0, le=1)
    """Minimum ratio of height to width; the maximum is its inverse, and 1 gives squares."""
    fill: Annotated[int, Field(ge=0, le=255)] | Literal["noise"] = 0
    """Value of the rectangle's pixels, or `noise` for a random value in each pixel."""

    @model_validator(mode="after")
    def _least_is_least(self) -> EraseParams:
        if self.least > self.most:
            raise ValueError(f"least ({self.least:g}) is greater than most ({self.most:g}); exchange them")
        return self


@AUGMENTATIONS.register("erase")
class Erase(Augmentation):
    """torchvision's RandomErasing: erases a random rectangle (Zhong et al., 2020; DeVries and Taylor, 2017)."""

    Params = EraseParams
    main = "probability"

    @staticmethod
    def check(params: EraseParams, shape: tuple[int, int, int]) -> None:
        if params.most * shape[0] * shape[1] < 1:
            raise ValueError(
                f"a share of {params.most:g} of {shape[0]}x{shape[1]} pixels is less than one pixel; raise most"
            )

    @staticmethod
    def apply(
        params: EraseParams, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None
    ) -> torch.Tensor:
        rectangle = v2.RandomErasing(
            p=params.probability, scale=(params.least, params.most), ratio=(params.aspect, 1 / params.aspect), value=1
        )

        def erased(images: torch.Tensor) -> torch.Tensor:
            lost = rectangle(torch.zeros(1, *images.shape[2:])).bool().to(images.device)
            if params.fill == "noise":
                noise = torch.randint(0, 256, images.shape[1:], dtype=torch.uint8)
                return torch.where(lost, noise.to(images.device), images)
            return images.masked_fill(lost, params.fill)

        return drawn(erased, pixels, generator, shared=shared)
