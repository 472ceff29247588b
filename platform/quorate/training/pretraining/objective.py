"""The interface of a kind of pretraining."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch
from pydantic import Field
from torch import nn

from quorate.registry import KindParams
from quorate.registry.parameter_names import named


# The defaults are assumptions, not measurements.
class PretrainParams(KindParams):
    """Parameters that all kinds of pretraining share."""

    epochs: int = Field(20, ge=1, le=100_000)
    """Number of passes over the fold's training images and the unlabelled images, before the `epochs` of the
    training."""
    batch_size: int = Field(256, ge=8, le=1_000_000)
    """Number of images per step."""
    lr: float = Field(1e-3, gt=0, le=100, validation_alias=named("lr", "learning_rate"))
    """Maximum learning rate of AdamW, which falls to 0 along a cosine."""


class Objective(nn.Module):
    """An encoder with additional layers for learning without labels; only the encoder is kept."""

    def loss(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the loss of images (n, C, H, W) in the form that the network takes; draws come from the CPU
        generator."""
        raise NotImplementedError


class Pretraining(Protocol):
    """A registered kind of pretraining."""

    Params: ClassVar[type[PretrainParams]]
    passes: ClassVar[float]
    """Cost of one image, in forward and backward passes of the network."""
    convolutional: ClassVar[bool]
    """Whether it is for convolutional architectures only."""

    @staticmethod
    def build(params: Any, *, encoder: nn.Module, width: int, shape: tuple[int, int, int]) -> Objective:
        """Build the objective of an `encoder` that returns (n, width) features of images of `shape` (H, W, C)."""
