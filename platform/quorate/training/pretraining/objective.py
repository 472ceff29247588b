"""What a kind of pretraining takes and gives."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch
from pydantic import Field
from torch import nn

from quorate.registry import KindParams
from quorate.registry.parameter_names import named


class PretrainParams(KindParams):
    """What every pretraining takes."""

    epochs: int = Field(20, ge=1, le=100_000)
    """Passes over the fold's training images and the unlabelled ones, before the `epochs` of the training."""
    batch_size: int = Field(256, ge=8, le=1_000_000)
    """Images of one step."""
    lr: float = Field(1e-3, gt=0, le=100, validation_alias=named("lr", "learning_rate"))
    """Highest learning rate of AdamW, which falls to 0 along a cosine."""


class Objective(nn.Module):
    """An encoder with what is put on it to learn without labels; the encoder alone is kept."""

    def loss(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The loss of images (n, C, H, W) as the network takes them; draws come from the CPU generator."""
        raise NotImplementedError


class Pretraining(Protocol):
    """A registered kind."""

    Params: ClassVar[type[PretrainParams]]
    passes: ClassVar[float]
    """What one image costs, in passes of the network forth and back."""
    convolutional: ClassVar[bool]
    """Whether it is for convolutional architectures only."""

    @staticmethod
    def build(params: Any, *, encoder: nn.Module, width: int, shape: tuple[int, int, int]) -> Objective:
        """The objective of an `encoder` that gives (n, width) features of images of `shape` (H, W, C)."""
