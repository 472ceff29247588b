"""Initializations that a job file can name: initial weights of convolutions and linear layers.

The fan-in of an output is its number of inputs times the kernel's size. A group of a grouped convolution counts as a
layer of its own.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from quorate.registry import INITIALIZATIONS, KindParams


@torch.no_grad()
def initialize(network: nn.Module, params: KindParams) -> None:
    """Draw the weights of convolutions and linear layers from torch's own random stream, and set their biases to 0.

    Norms and embeddings are not changed. With `default` nothing is changed.
    """
    kind = INITIALIZATIONS.get(params.kind)
    if kind is Default:
        return
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            for weight in module.weight.chunk(getattr(module, "groups", 1)):
                kind.fill(params, weight)
            if module.bias is not None:
                module.bias.zero_()


class DefaultParams(KindParams):
    kind: Literal["default"] = "default"


@INITIALIZATIONS.register("default")
class Default:
    """The architecture's own initialization; torch's own layers draw uniformly with a variance of 1 / (3 fan_in)."""

    Params = DefaultParams

    @staticmethod
    def fill(params: DefaultParams, weight: torch.Tensor) -> None:
        """Leave the weights unchanged."""


class XavierUniformParams(KindParams):
    kind: Literal["xavier_uniform"] = "xavier_uniform"


@INITIALIZATIONS.register("xavier_uniform")
class XavierUniform:
    """Uniform with a variance of 2 / (fan_in + fan_out) (Glorot and Bengio, 2010)."""

    Params = XavierUniformParams

    @staticmethod
    def fill(params: XavierUniformParams, weight: torch.Tensor) -> None:
        nn.init.xavier_uniform_(weight)


class XavierNormalParams(KindParams):
    kind: Literal["xavier_normal"] = "xavier_normal"


@INITIALIZATIONS.register("xavier_normal")
class XavierNormal:
    """Normal with a variance of 2 / (fan_in + fan_out) (Glorot and Bengio, 2010)."""

    Params = XavierNormalParams

    @staticmethod
    def fill(params: XavierNormalParams, weight: torch.Tensor) -> None:
        nn.init.xavier_normal_(weight)


class HeUniformParams(KindParams):
    kind: Literal["he_uniform"] = "he_uniform"


@INITIALIZATIONS.register("he_uniform")
class HeUniform:
    """Uniform with a variance of 2 / fan_in, for layers before a ReLU (He et al., 2015)."""

    Params = HeUniformParams

    @staticmethod
    def fill(params: HeUniformParams, weight: torch.Tensor) -> None:
        nn.init.kaiming_uniform_(weight, nonlinearity="relu")


class HeNormalParams(KindParams):
    kind: Literal["he_normal"] = "he_normal"


@INITIALIZATIONS.register("he_normal")
class HeNormal:
    """Normal with a variance of 2 / fan_in, for layers before a ReLU (He et al., 2015)."""

    Params = HeNormalParams

    @staticmethod
    def fill(params: HeNormalParams, weight: torch.Tensor) -> None:
        nn.init.kaiming_normal_(weight, nonlinearity="relu")


class LecunNormalParams(KindParams):
    kind: Literal["lecun_normal"] = "lecun_normal"


@INITIALIZATIONS.register("lecun_normal")
class LecunNormal:
    """Normal with a variance of 1 / fan_in (LeCun et al., 1998)."""

    Params = LecunNormalParams

    @staticmethod
    def fill(params: LecunNormalParams, weight: torch.Tensor) -> None:
        nn.init.kaiming_normal_(weight, nonlinearity="linear")


class OrthogonalParams(KindParams):
    kind: Literal["orthogonal"] = "orthogonal"
    gain: float = Field(1.0, gt=0, le=100)
    """Norm of the rows; the square root of 2 preserves the variance through ReLUs."""


@INITIALIZATIONS.register("orthogonal")
class Orthogonal:
    """A random matrix, one output per row, whose rows (or columns, if fewer) are orthogonal (Saxe et al., 2014)."""

    Params = OrthogonalParams

    @staticmethod
    def fill(params: OrthogonalParams, weight: torch.Tensor) -> None:
        nn.init.orthogonal_(weight, gain=params.gain)
