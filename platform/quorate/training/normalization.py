"""Normalization layers of the built-in networks: batch, group, or none."""

from __future__ import annotations

from typing import Literal

from torch import nn

Norm = Literal["batch", "none", "group"]

_GROUPS, _LEAST = 8, 4
"""Maximum number of groups, and minimum number of channels per group. Assumptions, not measurements."""


def norm_layers(norm: Norm, channels: int, batch: type[nn.Module]) -> list[nn.Module]:
    """Return the layers after a convolution or linear layer with that number of `channels`.

    `batch` is the layer class of batch normalization. Without a normalization the layer before needs a bias; with one,
    the normalization would remove the bias.
    """
    if norm == "none":
        return []
    return [batch(channels)] if norm == "batch" else [nn.GroupNorm(groups_of(channels), channels)]


def groups_of(channels: int) -> int:
    """Return the largest number of equal groups, at most 8 and with at least 4 channels each; otherwise 1.

    Normalization removes information from small groups: a group of a single value is always 0.
    """
    return max((n for n in range(1, _GROUPS + 1) if channels % n == 0 and channels // n >= _LEAST), default=1)
