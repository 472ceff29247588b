"""Find the convolutions that oneDNN computes wrongly on channels-last images."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

SAFE_CHANNELS = 16
"""Minimum number of input channels of a strided 1x1 convolution that may run channels last on a CPU.

oneDNN copies the pixels that such a convolution reads into a workspace of (pixels x channels) numbers, but steps
through it in blocks of channels: 16 with AVX-512, 8 with AVX2. With fewer channels it steps beyond the workspace, and
computes the gradient of the weights from memory that was overwritten. See oneDNN's issue 6035 and the table in
docs/architecture.md, which `tests.benchmarks.convolutions` measures.
"""


def is_narrow_strided(*, channels: int, kernel: tuple[int, ...], stride: tuple[int, ...], groups: int) -> bool:
    """Return whether a convolution writes beyond its workspace; `channels` is the number of channels on its strided
    side.

    The strided side is the input of a convolution, and the output of a transposed convolution.
    """
    return groups == 1 and set(kernel) == {1} and max(stride) > 1 and channels < SAFE_CHANNELS


def has_narrow_strided(network: nn.Module) -> bool:
    """Return whether one of the layers is a strided 1x1 convolution with few channels."""
    return any(
        is_narrow_strided(
            channels=layer.out_channels if layer.transposed else layer.in_channels,
            kernel=layer.kernel_size,
            stride=layer.stride,
            groups=layer.groups,
        )
        for layer in network.modules()
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d)
    )


class NarrowStrided(TorchDispatchMode):
    """A context that detects narrow strided convolutions among all that are computed, whether by layers or by
    functions."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            _, weight, _, stride, _, _, _, _, groups = args
            self.found |= is_narrow_strided(
                channels=weight.shape[1] * groups,
                kernel=tuple(weight.shape[2:]),
                stride=tuple(stride),
                groups=groups,
            )
        return func(*args, **(kwargs or {}))
