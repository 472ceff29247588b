"""Monte Carlo dropout (Gal and Ghahramani, 2016): predictions averaged over networks with dropped units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_DROPOUTS = {functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d}
_SEED = 0x5EED
"""Pass i has the seed `_SEED + i`, in every prediction."""


class ThinnedNetwork(TorchFunctionMode):
    """A context in which dropout is active at prediction: pass number `number` drops the same units for every row.

    A mask per row would make a prediction depend on its place in the batch. One network per pass is also what the paper
    averages over. Layers that drop whole maps drop single values here.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(_SEED + number)
        self._masks: list[torch.Tensor] = []
        self._next = 0

    def start(self) -> None:
        """Start a batch: the next call of dropout is the first one in the network."""
        self._next = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in _DROPOUTS:
            return func(*args, **(kwargs or {}))
        named = dict(zip(("input", "p", "training", "inplace"), args, strict=False)) | (kwargs or {})
        x, p = named["input"], named.get("p", 0.5)
        return x * self._mask(x, p) if p > 0 else x

    def _mask(self, x: torch.Tensor, p: float) -> torch.Tensor:
        if self._next == len(self._masks):
            kept = torch.rand(x.shape[1:], generator=self._generator) >= p
            self._masks.append((kept / (1 - p)).to(x.device))
        mask, self._next = self._masks[self._next], self._next + 1
        return mask
