"""What stands between a built-in network's weights and its activations: batch, group, or no normalization."""

from __future__ import annotations

from typing import Literal

from torch import nn

Norm = Literal["batch", "none", "group"]

_GROUPS, _LEAST = 8, 4


def norm_layers(norm: Norm, channels: int, batch: type[nn.Module]) -> list[nn.Module]:
    """The layers after a convolution or a linear layer of so many channels; `batch` is what `batch` stands for.

    Without any the layer before needs a bias, which a normalization would take away again.
    """
    if norm == "none":
        return []
    return [batch(channels)] if norm == "batch" else [nn.GroupNorm(groups_of(channels), channels)]


def groups_of(channels: int) -> int:
    """The most groups of equal size, at most 8 and of at least 4 channels each; else 1.

    A group of few values loses them: of a single one nothing remains but 0.
    """
    return max((n for n in range(1, _GROUPS + 1) if channels % n == 0 and channels // n >= _LEAST), default=1)
