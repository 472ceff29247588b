"""Random affine transforms: rotation, shift, scale and shear at once."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torchvision.transforms import v2

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.contracts import Augmentation
from quorate.training.random_transforms import drawn


# The defaults are assumptions, not measurements.
class AffineParams(KindParams):
    kind: Literal["affine"] = "affine"
    degrees: float = Field(10, ge=0, le=180)
    """Maximum rotation in degrees, in either direction."""
    translate: float = Field(0.1, ge=0, lt=1)
    """Maximum shift, as a fraction of the image's width and height."""
    scale: float = Field(0.1, ge=0, lt=1)
    """Maximum change of the size: 0.1 gives factors from 0.9 to 1.1."""
    shear: float = Field(5, ge=0, lt=90)
    """Maximum angle of the shear along the rows in degrees, in either direction."""
    fill: int = Field(0, ge=0, le=255)
    """Value of the uncovered pixels."""


@AUGMENTATIONS.register("affine")
class Affine(Augmentation):
    """torchvision's RandomAffine: rotates, shifts, scales and shears."""

    Params = AffineParams
    main = "degrees"

    @staticmethod
    def check(params: AffineParams, shape: tuple[int, int, int]) -> None:
        if min(shape[:2]) < 2:
            raise ValueError("an image of one row or column cannot be rotated; leave it out")

    @staticmethod
    def apply(
        params: AffineParams, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None
    ) -> torch.Tensor:
        transform = v2.RandomAffine(
            degrees=params.degrees,
            translate=(params.translate, params.translate),
            scale=(1 - params.scale, 1 + params.scale),
            shear=params.shear,
            interpolation=v2.InterpolationMode.BILINEAR,
            fill=params.fill,
        )
        return drawn(transform, pixels, generator, shared=shared)
