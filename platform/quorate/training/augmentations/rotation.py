"""Random rotation of images around their centre."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import rotate

from quorate.registry import AUGMENTATIONS, KindParams
from quorate.training.contracts import Augmentation
from quorate.training.random_transforms import drawn


# The default of `degrees` is an assumption, not a measurement.
class RotationParams(KindParams):
    kind: Literal["rotation"] = "rotation"
    degrees: float = Field(15, gt=0, le=180)
    """Maximum angle in degrees, in either direction."""
    step: float | None = Field(None, gt=0, le=180)
    """Angles are whole multiples of this number of degrees, such as 90 for images without an upright direction; by
    default any angle is possible."""
    fill: int = Field(0, ge=0, le=255)
    """Value of the uncovered pixels."""

    @model_validator(mode="after")
    def _a_step_fits(self) -> RotationParams:
        if self.step is not None and self.step > self.degrees:
            raise ValueError(f"a step of {self.step:g} is beyond the maximum angle, {self.degrees:g}; raise degrees")
        return self


@AUGMENTATIONS.register("rotation")
class Rotation(Augmentation):
    """Rotates images by a random angle."""

    Params = RotationParams
    main = "degrees"

    @staticmethod
    def check(params: RotationParams, shape: tuple[int, int, int]) -> None:
        if min(shape[:2]) < 2:
            raise ValueError("an image of one row or column cannot be rotated; leave it out")

    @staticmethod
    def apply(
        params: RotationParams, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None
    ) -> torch.Tensor:
        def turn(images: torch.Tensor) -> torch.Tensor:
            angle = _angle(params)
            fill = [float(params.fill)]
            turned: torch.Tensor = rotate(images, angle, interpolation=InterpolationMode.BILINEAR, fill=fill)
            return turned

        return drawn(turn, pixels, generator, shared=shared)


def _angle(params: RotationParams) -> float:
    """Draw an angle in degrees. If the steps cover a full circle, -180 degrees is left out, because it equals 180."""
    if params.step is None:
        return float(torch.empty(()).uniform_(-params.degrees, params.degrees))
    steps = int(params.degrees / params.step + 1e-9)
    twice = steps * params.step == 180
    return params.step * int(torch.randint(-steps + twice, steps + 1, ()))
