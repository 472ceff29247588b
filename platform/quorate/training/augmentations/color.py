"""Random changes of brightness, contrast, saturation and hue, in random order."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torchvision.transforms import v2

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.contracts import Augmentation
from quorate.training.random_transforms import drawn


# The default of `strength` is an assumption, not a measurement.
class ColorParams(KindParams):
    kind: Literal["color"] = "color"
    strength: float = Field(0.2, ge=0, le=1)
    """Maximum change, as a fraction, of brightness, contrast and saturation, where these are not set separately."""
    brightness: float | None = Field(None, ge=0, le=1)
    """Maximum change of the brightness: 0.2 gives factors from 0.8 to 1.2."""
    contrast: float | None = Field(None, ge=0, le=1)
    """Maximum change of the contrast, as a fraction."""
    saturation: float | None = Field(None, ge=0, le=1)
    """Maximum change of the saturation, as a fraction; 0 for grey images."""
    hue: float = Field(0, ge=0, le=0.5)
    """Maximum shift of the hue, as a fraction of the colour circle; 0.05 is visible, 0.5 can turn any colour into any
    other."""

    def strengths(self) -> dict[str, float]:
        """Return the arguments of torchvision's ColorJitter."""
        given = {"brightness": self.brightness, "contrast": self.contrast, "saturation": self.saturation}
        filled = {name: self.strength if value is None else value for name, value in given.items()}
        return {**filled, "hue": self.hue}


@AUGMENTATIONS.register("color")
class Color(Augmentation):
    """torchvision's ColorJitter: brightness, contrast, saturation and hue in random order."""

    Params = ColorParams
    main = "strength"

    @staticmethod
    def check(params: ColorParams, shape: tuple[int, int, int]) -> None:
        strengths = params.strengths()
        if shape[2] not in (1, 3):
            raise ValueError(f"colours need 3 channels, and these images have {shape[2]}; leave it out")
        if shape[2] == 1 and (strengths["saturation"] or strengths["hue"]):
            raise ValueError(
                "images of one channel have no colour; leave it out, or change brightness and contrast alone: "
                f"{{brightness: {strengths['brightness']:g}, contrast: {strengths['contrast']:g}, saturation: 0}}"
            )

    @staticmethod
    def apply(
        params: ColorParams, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None
    ) -> torch.Tensor:
        return drawn(v2.ColorJitter(**params.strengths()), pixels, generator, shared=shared)
