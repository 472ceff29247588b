"""One step of the optimizer: gradients of one or several batches, with clipping and constraints on the weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Constraints:
    """Constraints of a step in addition to the loss."""

    clip_norm: float | None = None
    """Maximum L2 norm of all gradients together (Pascanu et al., 2013)."""
    l1: float = 0.0
    """Factor of the sum of the weights' magnitudes (Tibshirani, 1996)."""
    max_norm: float | None = None
    """Maximum L2 norm of the weights into one unit (Srivastava et al., 2014, section 5.1)."""


def matrices(network: nn.Module) -> list[nn.Parameter]:
    """Return the trainable weights with two or more dimensions, that is, without biases and normalizations.

    Parameters that the network lists in `no_weight_decay()`, such as position embeddings, are not included.
    """
    spared = set(getattr(network, "no_weight_decay", tuple)())
    named = network.named_parameters()
    return [weight for name, weight in named if weight.ndim > 1 and weight.requires_grad and name not in spared]


def penalty(network: nn.Module, constraints: Constraints) -> torch.Tensor | None:
    """Return the term that is added to the loss, a scalar; None if there is none."""
    if not constraints.l1:
        return None
    return constraints.l1 * torch.stack([weight.abs().sum() for weight in matrices(network)]).sum()


def take_step(network: nn.Module, optimizer: torch.optim.Optimizer, constraints: Constraints) -> torch.Tensor:
    """Make a step with the current gradients; return their L2 norm before clipping, a scalar."""
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
