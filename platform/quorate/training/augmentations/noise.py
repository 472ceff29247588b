"""Gaussian noise on pixels."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.contracts import Augmentation


# The default of `deviation` is an assumption, not a measurement.
class NoiseParams(KindParams):
    kind: Literal["noise"] = "noise"
    deviation: float = Field(0.05, gt=0, le=1)
    """Standard deviation, as a fraction of the range from black to white."""


@AUGMENTATIONS.register("noise")
class Noise(Augmentation):
    """Adds independent normal noise to every value of every pixel."""

    Params = NoiseParams
    main = "deviation"

    @staticmethod
    def apply(
        params: NoiseParams, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None
    ) -> torch.Tensor:
        # torchvision's GaussianNoise uses the device's global random stream, and draws different noise for each image
        seed = int(torch.randint(2**62, (), generator=generator))
        source = torch.Generator(pixels.device).manual_seed(seed)
        shape = pixels.shape if shared is None else (1, *pixels.shape[1:])
        noise = torch.randn(shape, generator=source, device=pixels.device)
        return (pixels + 255 * params.deviation * noise).round_().clamp_(0, 255).to(torch.uint8)
