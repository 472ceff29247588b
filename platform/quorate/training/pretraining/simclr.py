"""SimCLR: learn similar features for two views of one image and different ones for different images (Chen et al.,
2020)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from quorate.registry import PRETRAININGS
from quorate.training.pretraining.objective import Objective, PretrainParams
from quorate.training.pretraining.views import ViewSettings


# `temperature` is that of SimCLR for CIFAR-10 (Chen et al., 2020, appendix B.9). The other defaults are assumptions,
# not measurements.
class SimclrParams(PretrainParams):
    kind: Literal["simclr"] = "simclr"
    temperature: float = Field(0.5, gt=0, le=10)
    """Divisor of the similarities; smaller values give more weight to the most similar other images."""
    projection: int = Field(64, ge=2, le=4096)
    """Width of the projection head's output; the head is discarded after the pretraining."""
    least_area: float = Field(0.2, gt=0, le=1)
    """Minimum fraction of the image's area in a view; a view is a random crop, resized to the image's size."""
    mirror: bool = False
    """Whether views are mirrored left to right with probability one half."""
    jitter: float = Field(0.4, ge=0, lt=1)
    """Maximum change of a view's contrast (as a factor) and brightness (in standard deviations of the image)."""
    noise: float = Field(0.0, ge=0, le=2)
    """Standard deviation of Gaussian noise on a view, in standard deviations of the image."""


@PRETRAININGS.register("simclr")
class Simclr:
    """Contrasts two random views of each image with the views of other images (Chen et al., 2020)."""

    Params = SimclrParams
    passes: ClassVar[float] = 2.0
    """Each image has two views."""
    convolutional: ClassVar[bool] = True

    @staticmethod
    def build(params: SimclrParams, *, encoder: nn.Module, width: int, shape: tuple[int, int, int]) -> Objective:
        return _Contrast(params, encoder, width)


class _Contrast(Objective):
    def __init__(self, params: SimclrParams, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = nn.Sequential(
            nn.Linear(width, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, params.projection),
        )
        self.temperature = params.temperature
        self.views = ViewSettings(params.least_area, params.mirror, params.jitter, params.noise)

    def loss(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        both = torch.cat([self.views(x, generator), self.views(x, generator)])
        first, second = self.projection(self.encoder(both)).float().chunk(2)
        return nt_xent(first, second, temperature=self.temperature)


def nt_xent(first: torch.Tensor, second: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """Normalized temperature-scaled cross-entropy of two views (n, d) of the same rows (Chen et al., 2020, eq. 1).

    The loss trains each of the 2n views to identify its partner among the 2n - 1 others by cosine similarity.
    """
    z = functional.normalize(torch.cat([first, second]), dim=1)
    with torch.autocast(z.device.type, enabled=False):
        similarity = z @ z.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    n = len(first)
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return functional.cross_entropy(similarity, partner)
