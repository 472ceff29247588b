"""Elastic distortion of images by a smooth random field."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torchvision.transforms import v2

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.contracts import Augmentation
from quorate.training.random_transforms import drawn


# `alpha` has torchvision's default.
class ElasticParams(KindParams):
    kind: Literal["elastic"] = "elastic"
    alpha: float = Field(50, gt=0, le=10_000)
    """Strength, as defined by torchvision: pixels move by about 0.08 alpha / sigma, and by at most half of alpha."""
    sigma: float = Field(4, ge=0.5, le=256)
    """Smoothness of the displacement field: the standard deviation, in pixels, of the Gaussian that smooths it (Simard
    et al., 2003, use 4)."""
    fill: int = Field(0, ge=0, le=255)
    """Value of the uncovered pixels."""


@AUGMENTATIONS.register("elastic")
class Elastic(Augmentation):
    """torchvision's ElasticTransform: a smooth random field moves every pixel (Simard et al., 2003)."""

    Params = ElasticParams
    main = "alpha"

    @staticmethod
    def check(params: ElasticParams, shape: tuple[int, int, int]) -> None:
        side = min(shape[:2])
        if _reach(params.sigma) >= side:
            most = max((tenth / 10 for tenth in range(5, 10 * side) if _reach(tenth / 10) < side), default=None)
            fix = "leave it out" if most is None else f"take at most {most:g}"
            raise ValueError(
                f"a sigma of {params.sigma:g} smooths over {_reach(params.sigma)} pixels in each direction, but the "
                f"images have a side of {side}; {fix}"
            )

    @staticmethod
    def apply(
        params: ElasticParams, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None
    ) -> torch.Tensor:
        transform = v2.ElasticTransform(alpha=params.alpha, sigma=params.sigma, fill=params.fill)
        return drawn(transform, pixels, generator, shared=shared)


def _reach(sigma: float) -> int:
    """Return the radius of torchvision's kernel in pixels. The image is padded by reflection, so its sides must be
    longer than this."""
    return (int(8 * sigma + 1) | 1) // 2
