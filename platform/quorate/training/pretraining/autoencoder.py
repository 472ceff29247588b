"""A denoising autoencoder: learn features that restore a damaged image."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from quorate.registry import PRETRAININGS
from quorate.training.pretraining.objective import Objective, PretrainParams

_CHANNELS, _LEAST_SIDE = 64, 4
"""Number of channels and shorter side of the decoder's first feature map. Assumptions, not measurements."""


# The defaults are assumptions, not measurements.
class AutoencoderParams(PretrainParams):
    kind: Literal["autoencoder"] = "autoencoder"
    masked: float = Field(0.25, ge=0, lt=1)
    """Probability that a pixel of the input is hidden (Vincent et al., 2008)."""
    noise: float = Field(0.0, ge=0, le=2)
    """Standard deviation of Gaussian noise on the input, in units of the standardized pixels."""


@PRETRAININGS.register("autoencoder")
class Autoencoder:
    """The network without its head and a small decoder restore damaged images (Vincent et al., 2008)."""

    Params = AutoencoderParams
    passes: ClassVar[float] = 1.5
    """One pass of the network; the decoder's cost of half a pass is an assumption, not a measurement."""
    convolutional: ClassVar[bool] = False

    @staticmethod
    def build(params: AutoencoderParams, *, encoder: nn.Module, width: int, shape: tuple[int, int, int]) -> Objective:
        return _Restoration(params, encoder, width, shape)


class _Restoration(Objective):
    def __init__(self, params: AutoencoderParams, encoder: nn.Module, width: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.encoder = encoder
        maps = any(isinstance(module, nn.Conv2d) for module in encoder.modules())
        self.decoder = _Drawing(width, shape) if maps else _Matrix(width, shape)
        self.masked, self.noise = params.masked, params.noise

    def loss(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the mean squared error of all restored pixels, in standardized units."""
        restored = self.decoder(self.encoder(self.damaged(x, generator)))
        return functional.mse_loss(restored.float(), x)

    def damaged(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Set hidden pixels of `x` (n, C, H, W) to 0, which is usually the mean of standardized images, and add
        noise."""
        if self.masked:
            kept = torch.rand(len(x), 1, *x.shape[2:], generator=generator) >= self.masked
            x = x * kept.to(x.device)
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=generator).to(x.device)
        return x


class _Matrix(nn.Sequential):
    """Map features to images through one hidden layer."""

    def __init__(self, width: int, shape: tuple[int, int, int]) -> None:
        height, wide, channels = shape
        hidden = max(width, 128)
        super().__init__(
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, math.prod(shape)),
            nn.Unflatten(1, (channels, height, wide)),
        )


class _Drawing(nn.Module):
    """Map features to a small feature map, which convolutions enlarge until it has the size of the image."""

    def __init__(self, width: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.size = shape[:2]
        doublings = max(0, math.ceil(math.log2(max(self.size) / _LEAST_SIDE)))
        sides = [math.ceil(side / 2**doublings) for side in self.size]
        widths = [max(_CHANNELS >> k, 8) for k in range(doublings + 1)]
        self.start = nn.Sequential(
            nn.Linear(width, _CHANNELS * math.prod(sides)), nn.ReLU(), nn.Unflatten(1, (_CHANNELS, *sides))
        )
        layers: list[nn.Module] = []
        for k in range(doublings):
            layers += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(widths[k], widths[k + 1], 3, padding=1, bias=False),
                nn.BatchNorm2d(widths[k + 1]),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], shape[2], 3, padding=1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        drawn: torch.Tensor = self.body(self.start(features))
        return drawn[:, :, : self.size[0], : self.size[1]]
