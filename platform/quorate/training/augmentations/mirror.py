"""Random mirroring of images."""

from __future__ import annotations

from typing import Literal

import torch

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.contracts import Augmentation


class MirrorParams(KindParams):
    kind: Literal["mirror"] = "mirror"
    direction: Literal["horizontal", "vertical", "both"] = "horizontal"
    """Sides that are exchanged: left and right, top and bottom, or both pairs independently."""


@AUGMENTATIONS.register("mirror")
class Mirror(Augmentation):
    """Mirrors each image with probability one half."""

    Params = MirrorParams
    main = "direction"

    @staticmethod
    def apply(
        params: MirrorParams, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None
    ) -> torch.Tensor:
        """Apply it; with `shared`, bit 0 of the pass number mirrors along the first axis, and bit 1 along the
        second."""
        axes = {"horizontal": [2], "vertical": [1], "both": [2, 1]}[params.direction]
        for place, axis in enumerate(axes):
            if shared is None:
                flip = (torch.rand(len(pixels), 1, generator=generator) < 0.5)[:, :, None, None]
                pixels = torch.where(flip.to(pixels.device), pixels.flip(axis), pixels)
            elif shared >> place & 1:
                pixels = pixels.flip(axis)
        return pixels
