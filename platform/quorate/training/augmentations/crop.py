"""Random crops of padded images: shifts by whole pixels."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.contracts import Augmentation


class CropParams(KindParams):
    kind: Literal["crop"] = "crop"
    pixels: int = Field(4, ge=1, le=256)
    """Maximum shift in pixels, vertically and horizontally, in either direction; uncovered pixels repeat the edge. 4 is
    the padding of He et al. (2016) for 32 x 32 images; one eighth of the side is a large shift."""


@AUGMENTATIONS.register("crop")
class Crop(Augmentation):
    """Shifts each image by up to `pixels` pixels (He et al., 2016)."""

    Params = CropParams
    main = "pixels"

    @staticmethod
    def check(params: CropParams, shape: tuple[int, int, int]) -> None:
        side = min(shape[:2])
        if params.pixels >= side:
            raise ValueError(
                f"shifts of {params.pixels} pixels can move the whole image out, whose side is {side}; use "
                f"{side // 8 or 1}"
            )

    @staticmethod
    def apply(
        params: CropParams, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None
    ) -> torch.Tensor:
        height, width = pixels.shape[1:3]
        draws = len(pixels) if shared is None else 1
        shift = torch.randint(-params.pixels, params.pixels + 1, (2, draws, 1), generator=generator)
        rows = (torch.arange(height) + shift[0]).clamp(0, height - 1)
        columns = (torch.arange(width) + shift[1]).clamp(0, width - 1)
        which = torch.arange(len(pixels))[:, None, None]
        index = (which, rows[:, :, None], columns[:, None, :])
        return pixels[tuple(part.to(pixels.device) for part in index)]
