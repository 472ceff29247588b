"""Mirrored images."""

from __future__ import annotations

from typing import Literal

import torch

from quorate.registry import AUGMENTATIONS, KindParams


class MirrorParams(KindParams):
    kind: Literal["mirror"] = "mirror"
    direction: Literal["horizontal", "vertical", "both"] = "horizontal"
    """Which sides are exchanged: left and right, top and bottom, or each of the two on its own."""


@AUGMENTATIONS.register("mirror")
class Mirror:
    """Mirrors each image with probability one half."""

    Params = MirrorParams
    main = "direction"
    mixes = False

    @staticmethod
    def apply(
        params: MirrorParams, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None
    ) -> torch.Tensor:
        """A pass of a given number is mirrored where that is odd (the second direction where its half is)."""
        axes = {"horizontal": [2], "vertical": [1], "both": [2, 1]}[params.direction]
        for place, axis in enumerate(axes):
            if shared is None:
                flip = (torch.rand(len(pixels), 1, generator=generator) < 0.5)[:, :, None, None]
                pixels = torch.where(flip.to(pixels.device), pixels.flip(axis), pixels)
            elif shared >> place & 1:
                pixels = pixels.flip(axis)
        return pixels
