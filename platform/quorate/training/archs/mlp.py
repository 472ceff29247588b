"""A multilayer perceptron on the pixels."""

from __future__ import annotations

import itertools
from typing import Literal

from pydantic import Field
from torch import nn

from quorate.kinds import ARCHS, KindParams


class MlpParams(KindParams):
    kind: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = Field((256, 128), min_length=1)
    """Units of each hidden layer."""


@ARCHS.register("mlp")
class Mlp:
    """Linear layers with batch normalization, ReLU and dropout."""

    Params = MlpParams
    convolutional = False

    @staticmethod
    def build(params: MlpParams, *, shape: tuple[int, int, int], n_classes: int, dropout: float) -> nn.Module:
        height, width, channels = shape
        sizes = (height * width * channels, *params.hidden)
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(sizes):
            layers += [
                nn.Linear(before, after, bias=False),
                nn.BatchNorm1d(after),
                nn.ReLU(),
                nn.Dropout(dropout),
            ]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], n_classes))
