"""TabM: an ensemble of multilayer perceptrons that share most of their weights, for tables."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from rtdl_num_embeddings import LinearEmbeddings
from tabm import EnsembleView, LinearEnsemble, make_tabm_backbone
from torch import nn

from quorate.registry import ARCHS, KindParams
from quorate.training.columns import Columns
from quorate.training.contracts import Architecture
from quorate.training.number_embeddings import Embeddings, PiecewiseLinear, bins_of
from quorate.training.several_predictions import mean_logits
from quorate.training.shapes import Shape, TableShape

_ONE_HOT = 64
"""Maximum number of codes of a category that becomes one number per code, as in the paper. The k inputs of more codes
would take too much memory. An assumption, not a measurement."""

_TYPES = {"mini": "tabm-mini", "full": "tabm", "packed": "tabm-packed"}
"""The names of the variants in the library."""


class TabmParams(KindParams):
    kind: Literal["tabm"] = "tabm"
    k: int = Field(32, ge=1, le=1024)
    """Number of predictions per row; 32 is that of the paper."""
    blocks: int = Field(2, ge=1, le=64)
    """Number of hidden layers; the authors suggest 2 with embeddings of numbers, and 3 without."""
    width: int = Field(512, ge=1, le=65_536)
    """Number of units of each hidden layer; the authors suggest 512."""
    variant: Literal["mini", "full", "packed"] = "mini"
    """What each of the k networks has for itself besides its last layer: factors of its inputs (`mini`, which the
    authors suggest with embeddings), also factors of each layer's inputs and outputs (`full`), or everything
    (`packed`)."""
    embeddings: Embeddings = PiecewiseLinear()
    """Embeddings of numbers: `piecewise_linear`, `periodic`, `none`, or a mapping; see below."""


@ARCHS.register("tabm")
class Tabm(Architecture):
    """k multilayer perceptrons that share weights (TabM: Gorishniy, Kotelnikov and Babenko, 2025). The loss is the mean
    of their k losses; the prediction is the mean of their probabilities."""

    Params = TabmParams
    convolutional = False
    takes = frozenset({"table"})

    @staticmethod
    def bins(params: TabmParams) -> int:
        return bins_of(params.embeddings)

    @staticmethod
    def build(params: TabmParams, *, shape: Shape, n_classes: int, dropout: float) -> nn.Module:
        assert isinstance(shape, TableShape), "it takes only tables"
        columns = Columns(shape, params.embeddings, one_hot=_ONE_HOT)
        packed = params.variant == "packed"
        # Random signs, or normal factors if there are embeddings: the library's own choice.
        start = None if packed else "random-signs" if params.embeddings is None else "normal"
        backbone = make_tabm_backbone(
            d_in=columns.width,
            n_blocks=params.blocks,
            d_block=params.width,
            dropout=dropout,
            k=params.k,
            arch_type=_TYPES[params.variant],
            start_scaling_init=start,
            start_scaling_init_chunks=None if packed else columns.chunks,
        )
        return TabmNetwork(columns, backbone, LinearEnsemble(params.width, n_classes, k=params.k), k=params.k)


class TabmNetwork(nn.Module):
    """Maps columns (n, numbers + categories) to the logits (n, k, K) of each prediction in training mode, and to the
    logarithm (n, K) of their mean otherwise."""

    def __init__(self, columns: Columns, backbone: nn.Module, output: nn.Module, *, k: int) -> None:
        super().__init__()
        self.columns, self.view, self.backbone, self.output = columns, EnsembleView(k=k), backbone, output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.output(self.backbone(self.view(self.columns(x))))
        return logits if self.training else mean_logits(logits)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that `decay: weights` spares besides biases, as the authors do: linear embeddings and
        frequencies."""
        linear = {name for name, module in self.named_modules() if isinstance(module, LinearEmbeddings)}
        return {
            name
            for name, _ in self.named_parameters()
            if name.rpartition(".")[0] in linear or name.endswith("periodic.weight")
        }
