"""One step of the optimizer: gradients of one or several batches, clipped, with what is asked of the weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Constraints:
    """What a step is held to beside the loss."""

    clip_norm: float | None = None
    """Greatest L2 norm of all gradients together (Pascanu et al., 2013)."""
    l1: float = 0.0
    """Factor of the sum of the weights' magnitudes (Tibshirani, 1996)."""
    max_norm: float | None = None
    """Greatest L2 norm of the weights into one unit (Srivastava et al., 2014, section 5.1)."""


def matrices(network: nn.Module) -> list[nn.Parameter]:
    """The weights of layers that are trained: of two dimensions or more, so neither biases nor normalizations.

    What the network itself names in `no_weight_decay()`, such as embeddings of positions, is no layer.
    """
    spared = set(getattr(network, "no_weight_decay", tuple)())
    named = network.named_parameters()
    return [weight for name, weight in named if weight.ndim > 1 and weight.requires_grad and name not in spared]


def penalty(network: nn.Module, constraints: Constraints) -> torch.Tensor | None:
    """What is added to the loss, a scalar; None for nothing."""
    if not constraints.l1:
        return None
    return constraints.l1 * torch.stack([weight.abs().sum() for weight in matrices(network)]).sum()


def take_step(network: nn.Module, optimizer: torch.optim.Optimizer, constraints: Constraints) -> torch.Tensor:
    """Step along the gradients that are there; gives their L2 norm before clipping, a scalar."""
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if constraints.clip_norm is not None:
        nn.utils.clip_grads_with_norm_(network.parameters(), constraints.clip_norm, norm)
    optimizer.step()
    if constraints.max_norm is not None:
        with torch.no_grad():
            for weight in matrices(network):
                weight.copy_(torch.renorm(weight, p=2, dim=0, maxnorm=constraints.max_norm))
    return norm
