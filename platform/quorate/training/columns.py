"""The columns of a table as the input of a network: numbers, embedded or not, and categories."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from quorate.training.number_embeddings import EmbeddedNumbers, NumberEmbedding
from quorate.training.shapes import TableShape

_UNKNOWN = 1
"""Code of a category that no training row has."""


class Columns(nn.Module):
    """Maps the columns (n, numbers + categories) to (n, width).

    Numbers are unchanged, or embedded by `embedding`. A category with at most `one_hot` codes becomes one number per
    code, except for unknown categories, which become zeros; others get an embedding. `chunks` are the widths of the
    columns.
    """

    def __init__(self, shape: TableShape, embedding: NumberEmbedding | None = None, *, one_hot: int = 0) -> None:
        super().__init__()
        self.numbers = shape.numbers
        self._counts = shape.cardinalities
        self._one_hot = one_hot
        # fastai's rule of thumb for the width of an embedding.
        sizes = [(count, min(50, round(1.6 * count**0.56))) for count in shape.cardinalities if count > one_hot]
        tables = [nn.Embedding(count, width) for count, width in sizes]
        for table in tables:
            nn.init.zeros_(table.weight[:2])  # missing and unknown: possibly no row trains them
        self.embeddings = nn.ModuleList(tables)
        self.embedded_numbers = (
            EmbeddedNumbers(embedding, numbers=shape.numbers, edges=shape.edges)
            if embedding is not None and shape.numbers
            else None
        )
        numbers = [1] * shape.numbers if self.embedded_numbers is None else self.embedded_numbers.chunks
        widths = iter(width for _, width in sizes)
        self.chunks = numbers + [count - 1 if count <= one_hot else next(widths) for count in shape.cardinalities]
        self.width = sum(self.chunks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        numbers, codes = x[:, : self.numbers], x[:, self.numbers :].long()
        if self.embedded_numbers is not None:
            numbers = self.embedded_numbers(numbers)
        tables = iter(self.embeddings)
        parts = [
            _known_one_hot(codes[:, i], count) if count <= self._one_hot else next(tables)(codes[:, i])
            for i, count in enumerate(self._counts)
        ]
        return torch.cat([numbers, *parts], dim=1)


def _known_one_hot(codes: torch.Tensor, count: int) -> torch.Tensor:
    """Return 0 and 1 (n, count - 1) for each code except that of unknown categories."""
    hot = functional.one_hot(codes, count)
    return torch.cat([hot[:, :_UNKNOWN], hot[:, _UNKNOWN + 1 :]], dim=1).float()
