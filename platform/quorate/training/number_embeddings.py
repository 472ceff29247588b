"""Embeddings of the numbers of a table (Gorishniy, Rubachev and Babenko, 2022), by rtdl_num_embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from rtdl_num_embeddings import PeriodicEmbeddings, PiecewiseLinearEmbeddings
from torch import nn

from quorate.registry import Spec

Edges: TypeAlias = tuple[tuple[float, ...], ...]
"""The edges of the bins of each number, in increasing order; () for a number with fewer than two bins."""


class PiecewiseLinear(Spec):
    """Encode each number by the bins below it and by its place in its own bin, then by a linear map (section 3.2)."""

    kind: Literal["piecewise_linear"] = "piecewise_linear"
    size: int = Field(16, ge=1, le=4096)
    """Size of a number's embedding; 16 is that of the example of TabM's authors."""
    bins: int = Field(48, ge=2, le=1000)
    """Maximum number of bins per number, between quantiles of the fold's training rows; 48 is the default of
    rtdl_num_embeddings. A number with a single bin is not embedded."""


class Periodic(Spec):
    """Sines and cosines of each number at learned frequencies, then a linear map and ReLU (section 3.3)."""

    kind: Literal["periodic"] = "periodic"
    size: int = Field(24, ge=1, le=4096)
    """Size of a number's embedding; 24 is the default of rtdl_num_embeddings."""
    frequencies: int = Field(48, ge=1, le=4096)
    """Number of frequencies per number; 48 is the default of rtdl_num_embeddings."""
    scale: float = Field(0.01, gt=0, le=1000, allow_inf_nan=False)
    """Standard deviation of the initial frequencies; 0.01 is the default of rtdl_num_embeddings. It matters: the best
    values of the paper lie between 0.01 and 10, and values that are too large do more harm than values that are too
    small."""


NumberEmbedding: TypeAlias = PiecewiseLinear | Periodic


def _of_name(value: object) -> object:
    """Expand the name alone, such as `embeddings: periodic`, to a mapping; `none` means None."""
    if value == "none":
        return None
    if isinstance(value, Mapping) and "kind" not in value:
        raise ValueError("the key 'kind' is missing; choose from piecewise_linear, periodic")
    return {"kind": value} if isinstance(value, str) else value


Embeddings: TypeAlias = Annotated[
    Annotated[NumberEmbedding, Field(discriminator="kind")] | None,
    BeforeValidator(
        _of_name,
        json_schema_input_type=Literal["piecewise_linear", "periodic", "none"] | NumberEmbedding | None,
    ),
]
"""The type of a field `embeddings`."""


def bins_of(embedding: NumberEmbedding | None) -> int:
    """Return the maximum number of bins per number that the embedding uses; 0 if it uses none."""
    return embedding.bins if isinstance(embedding, PiecewiseLinear) else 0


def bin_edges(numbers: NDArray[np.float32], bins: int) -> Edges:
    """Return the distinct quantiles of each column of `numbers` (n, columns), which bound at most `bins` bins.

    They are those of `rtdl_num_embeddings.compute_bins`, which refuses columns with equal values. A column with fewer
    than three values has none.
    """
    return tuple(_edges(column, bins) for column in numbers.T)


def _edges(column: NDArray[np.float32], bins: int) -> tuple[float, ...]:
    if len(np.unique(column)) < 3:  # quantiles between two values would look like a third one
        return ()
    edges = np.unique(np.quantile(column, np.linspace(0, 1, bins + 1)).astype(np.float32))
    return tuple(edges.tolist()) if len(edges) > 2 else ()


def even_edges(numbers: int, bins: int) -> Edges:
    """Return edges as `bin_edges` would for numbers without ties, before the rows are known."""
    return (tuple(np.linspace(0, 1, bins + 1).tolist()),) * numbers


class EmbeddedNumbers(nn.Module):
    """Maps numbers (n, numbers) to (n, width): the embeddings one after another, then the numbers that have none.

    `chunks` are the widths of the parts: `size` for each embedding, and 1 for each other number.
    """

    def __init__(self, embedding: NumberEmbedding, *, numbers: int, edges: Edges) -> None:
        super().__init__()
        periodic = isinstance(embedding, Periodic)
        self._embedded = [i for i in range(numbers) if periodic or edges[i]]
        self._plain = [i for i in range(numbers) if i not in set(self._embedded)]
        self.embedding = _made(embedding, [edges[i] for i in self._embedded] if not periodic else [()] * numbers)
        self.chunks = [embedding.size] * len(self._embedded) + [1] * len(self._plain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.embedding is None:
            return x
        vectors: torch.Tensor = self.embedding(x[:, self._embedded] if self._plain else x).flatten(1)
        return torch.cat([vectors, x[:, self._plain]], dim=1) if self._plain else vectors


def _made(embedding: NumberEmbedding, edges: list[tuple[float, ...]]) -> nn.Module | None:
    """Return the module for as many numbers as there are `edges`; None if there are none."""
    if not edges:
        return None
    if isinstance(embedding, Periodic):
        periodic: nn.Module = PeriodicEmbeddings(
            len(edges),
            embedding.size,
            n_frequencies=embedding.frequencies,
            frequency_init_scale=embedding.scale,
            lite=False,
        )
        return periodic
    device = torch.get_default_device()
    with torch.device("cpu"):  # it reads the edges, which the device `meta` does not have
        bins = [torch.tensor(each) for each in edges]
        # Version B, of TabM's authors, starts as a linear map and learns the bins from 0.
        made: nn.Module = PiecewiseLinearEmbeddings(bins, embedding.size, activation=False, version="B")
    return made.to(device)
