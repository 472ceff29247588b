"""Estimate the memory of a network's training step, to choose batch sizes that fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from quorate.training.shapes import Shape, TableShape

_STATES = 4
"""Multiples of the weights' size: the weights, their gradients, and two moments of the optimizer."""
_WORKSPACE = 1.5
"""Memory for activations, gradients of activations and fragmentation, relative to the tensors kept for the backward
pass. An assumption, not a measurement."""
_PART = 0.8
"""Fraction of the memory that may be used. An assumption, not a measurement."""
LEAST_STEPS = 8
"""Minimum number of steps per epoch; with fewer steps, an epoch trains badly, however much memory there is. An
assumption, not a measurement."""


@dataclass(frozen=True)
class Footprint:
    """Memory in bytes of a training step: a constant for the weights and optimizer, and an amount per row."""

    fixed: int
    row: int

    def of(self, rows: int) -> int:
        return self.fixed + rows * self.row


def footprint(build: Callable[[], nn.Module], shape: Shape) -> Footprint:
    """Measure the memory that autograd keeps for batches of two and four rows; torch's `meta` device computes
    nothing."""
    with torch.device("meta"):
        network = build().train()
        weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
        two, four = (_kept(network, _rows(shape, count)) for count in (2, 4))
    return Footprint(_STATES * weights, int(_WORKSPACE * max(four - two, 1) / 2))


def largest_batch(found: Footprint, *, memory: int, rows: int) -> int:
    """Return the largest power of two of rows that fits in `memory` bytes and leaves `LEAST_STEPS` steps per epoch.

    Raises `ValueError` if not even two rows fit.
    """
    if found.of(2) > _PART * memory:
        raise ValueError(
            f"a step of two rows takes {found.of(2) / 2**30:.1f} GiB, but {memory / 2**30:.1f} GiB are available; "
            "choose a smaller network or a smaller size"
        )
    size = 2
    while 2 * size * LEAST_STEPS <= rows and found.of(2 * size) <= _PART * memory:
        size *= 2
    return size


def _kept(network: nn.Module, x: torch.Tensor) -> int:
    """Return the bytes of the distinct tensors that a forward pass keeps for the backward pass."""
    weights = {weight.untyped_storage()._cdata for weight in network.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = (storage.nbytes(), tensor)  # kept alive, so that no other storage gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x).sum()
    return sum(size for size, _ in kept.values())


def _rows(shape: Shape, count: int) -> torch.Tensor:
    if isinstance(shape, TableShape):
        return torch.zeros(count, shape.size)
    return torch.empty(count, shape[2], *shape[:2])
