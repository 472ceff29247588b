"""Batch normalization over the rows of all workers that train a network together, on a CPU or an accelerator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import distributed
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_PARAMETERS = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_DEFAULTS = {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5}
"""The parameters of `torch.nn.functional.batch_norm` and their defaults."""


class SyncedBatchNorm(TorchFunctionMode):
    """A context in which batch normalizations in training mode use the statistics of all workers' rows.

    `torch.nn.SyncBatchNorm` only works on accelerators. It also replaces the modules of the network, which then would
    have to be replaced again for copies and predictions.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.batch_norm:
            given = _DEFAULTS | dict(zip(_PARAMETERS, args, strict=False)) | (kwargs or {})
            if given.pop("training"):
                return synced_batch_norm(given.pop("input"), **given)
        return func(*args, **(kwargs or {}))


def synced_batch_norm(
    x: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    momentum: float,
    eps: float,
) -> torch.Tensor:
    """Normalize `x` (n, C, ...) by mean and variance over the rows of all workers; update the running statistics.

    The variance is the mean of the squared differences from the common mean, which is more exact than the difference of
    two sums. The running variance is the unbiased one, as in torch.
    """
    axes, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
    values = x.float()
    count = values.new_full((1,), values.numel() / values.shape[1])
    total = _Sum.apply(torch.cat([values.sum(axes), count]))
    mean, rows = total[:-1] / total[-1], total[-1].detach()
    centred = values - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(axes)) / rows
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * rows / (rows - 1)).to(running_var.dtype), momentum)
    y: torch.Tensor = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None:
        y = y * weight.view(shape)
    if bias is not None:
        y = y + bias.view(shape)
    return y.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the workers; its gradient is the sum of the workers' gradients."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor) -> torch.Tensor:
        return _added(own)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _added(gradient)


def _added(own: torch.Tensor) -> torch.Tensor:
    total = own.contiguous().clone()
    distributed.all_reduce(total)
    return total
