"""A multilayer perceptron on pixels or columns."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import nn

from quorate.registry import ARCHS, KindParams
from quorate.training.columns import Columns
from quorate.training.contracts import Architecture
from quorate.training.normalization import Norm, norm_layers
from quorate.training.number_embeddings import Embeddings, bins_of
from quorate.training.shapes import Shape, TableShape


# The default of `hidden` is an assumption, not a measurement.
class MlpParams(KindParams):
    kind: Literal["mlp"] = "mlp"
    hidden: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field((256, 128), min_length=1)
    """Number of units of each hidden layer."""
    norm: Norm = "batch"
    """Normalization after each hidden layer: `batch`, `group`, or `none`, which gives the layer a bias."""
    embeddings: Embeddings = None
    """For tables, embeddings of numbers: `piecewise_linear`, `periodic`, `none`, or a mapping; see below."""

    @model_validator(mode="after")
    def _leaves_something(self) -> MlpParams:
        if self.norm == "group" and 1 in self.hidden:
            raise ValueError(
                "norm: group would make a hidden layer of 1 unit always 0; choose batch, none, or more units"
            )
        return self


@ARCHS.register("mlp")
class Mlp(Architecture):
    """Linear layers with a normalization, ReLU and dropout; categories of tables are embedded, and numbers can be."""

    Params = MlpParams
    convolutional = False
    takes = frozenset({"image", "table"})

    @staticmethod
    def bins(params: MlpParams) -> int:
        return bins_of(params.embeddings)

    @staticmethod
    def build(params: MlpParams, *, shape: Shape, n_classes: int, dropout: float) -> nn.Module:
        layers: list[nn.Module] = [Columns(shape, params.embeddings) if isinstance(shape, TableShape) else nn.Flatten()]
        inputs = layers[0].width if isinstance(layers[0], Columns) else math.prod(shape)  # type: ignore[arg-type]
        sizes = (inputs, *params.hidden)
        for before, after in itertools.pairwise(sizes):
            layers += [
                nn.Linear(before, after, bias=params.norm == "none"),
                *norm_layers(params.norm, after, nn.BatchNorm1d),
                nn.ReLU(),
                nn.Dropout(dropout),
            ]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], n_classes))
