"""How much memory a training step of a network takes, told before there is any: for batch sizes that fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from quorate.training.shapes import Shape, TableShape

_STATES = 4
"""Of the weights' size: themselves, their gradients, and two moments of the optimizer."""
_WORKSPACE = 1.5
"""What layers need to compute, gradients of activations and loose blocks, by the size of what is kept for them."""
_PART = 0.8
"""Of the memory that may be taken."""
LEAST_STEPS = 8
"""An epoch of fewer steps trains badly, whatever the memory."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of a training step: those of the weights and their kin, and those of each row."""

    fixed: int
    row: int

    def of(self, rows: int) -> int:
        return self.fixed + rows * self.row


def footprint(build: Callable[[], nn.Module], shape: Shape) -> Footprint:
    """Measure what autograd keeps of batches of two and of four rows, on torch's `meta` device: nothing is computed."""
    with torch.device("meta"):
        network = build().train()
        weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
        two, four = (_kept(network, _rows(shape, count)) for count in (2, 4))
    return Footprint(_STATES * weights, int(_WORKSPACE * max(four - two, 1) / 2))


def largest_batch(found: Footprint, *, memory: int, rows: int) -> int:
    """The largest power of two of rows that fits into `memory` bytes and leaves an epoch `LEAST_STEPS` steps.

    Raises `ValueError` where not even two rows fit.
    """
    if found.of(2) > _PART * memory:
        raise ValueError(
            f"a step of two rows takes {found.of(2) / 2**30:.1f} GiB, and there are {memory / 2**30:.1f}; "
            "choose a smaller network or a smaller size"
        )
    size = 2
    while 2 * size * LEAST_STEPS <= rows and found.of(2 * size) <= _PART * memory:
        size *= 2
    return size


def _kept(network: nn.Module, x: torch.Tensor) -> int:
    """Bytes of the distinct tensors that a pass forward keeps for the one back."""
    weights = {weight.untyped_storage()._cdata for weight in network.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = (storage.nbytes(), tensor)  # held, so that no other storage takes its name
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x).sum()
    return sum(size for size, _ in kept.values())


def _rows(shape: Shape, count: int) -> torch.Tensor:
    if isinstance(shape, TableShape):
        return torch.zeros(count, shape.size)
    return torch.empty(count, shape[2], *shape[:2])
