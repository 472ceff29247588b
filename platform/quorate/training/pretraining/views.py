"""Random views of batches of images: crop, mirror, brightness, contrast and noise, independent for each row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

_RATIO = math.log(4 / 3)
"""Maximum ratio of a crop's sides (its logarithm), as in torchvision's RandomResizedCrop."""


@dataclass(frozen=True)
class ViewSettings:
    """The differences between two views of one image."""

    least_area: float = 0.2
    """Minimum fraction of the image's area in a crop."""
    mirror: bool = False
    jitter: float = 0.4
    """Maximum change of brightness (in standard deviations of the image) and of contrast (as a factor)."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise, in standard deviations of the image."""

    def __call__(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return one view of each of (n, C, H, W), with the same shape; draws come from the CPU generator."""
        view = functional.grid_sample(
            x, self._grid(x, generator), mode="bilinear", padding_mode="border", align_corners=False
        )
        rows = (len(x), 1, 1, 1)
        mean = view.mean(dim=(1, 2, 3), keepdim=True)
        deviation = view.std(dim=(1, 2, 3), keepdim=True)
        if self.jitter:
            contrast, brightness = (
                (self.jitter * (2 * torch.rand(rows, generator=generator) - 1)).to(x.device) for _ in range(2)
            )
            view = mean + (view - mean) * (1 + contrast) + brightness * deviation
        if self.noise:
            view = view + self.noise * deviation * torch.randn(view.shape, generator=generator).to(x.device)
        dense = x.is_contiguous(memory_format=torch.channels_last)
        return view.contiguous(memory_format=torch.channels_last if dense else torch.contiguous_format)

    def boxes(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return (n, 4) crops within the image as left, top, width and height, in fractions of the image."""
        area = torch.empty(n).uniform_(self.least_area, 1, generator=generator)
        ratio = torch.empty(n).uniform_(-_RATIO, _RATIO, generator=generator).exp()
        size = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).clamp(max=1)
        corner = torch.rand(n, 2, generator=generator) * (1 - size)
        return torch.cat([corner, size], dim=1)

    def _grid(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        boxes = self.boxes(len(x), generator)
        size = boxes[:, 2:]
        centre = 2 * boxes[:, :2] + size - 1  # of the box, where the image goes from -1 to 1
        if self.mirror:
            flip = torch.rand(len(x), generator=generator) < 0.5
            size = torch.stack([torch.where(flip, -size[:, 0], size[:, 0]), size[:, 1]], dim=1)
        affine = torch.cat([torch.diag_embed(size), centre[:, :, None]], dim=2)
        return functional.affine_grid(affine, list(x.shape), align_corners=False).to(x.device)
