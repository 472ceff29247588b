"""A teacher's predictions for the training rows, and the loss of a network that learns from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

_SMALLEST = 1e-12
"""Lower bound of a probability before its logarithm is taken: the value of `SMALLEST_PROBA` in `ensemble.metrics`,
which this layer cannot import."""


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """A teacher's softened probabilities of each training row, multiplied by the weight of the row."""

    targets: torch.Tensor
    """float32 (N, K) on the device; each row sums to its weight, or to 0 if the teacher has no prediction for it."""
    temperature: float
    """Temperature that softens the network's logits, as it did the teacher's."""

    @classmethod
    def softened(
        cls, proba: NDArray[np.floating[Any]], *, temperature: float, weight: torch.Tensor, device: str
    ) -> SoftLabels:
        """Compute softmax(log p / T) of probabilities (N, K), multiplied by the `weight` (N,) of each row."""
        logits = torch.from_numpy(np.array(proba, np.float64)).clamp(min=_SMALLEST).log() / temperature
        return cls((logits.softmax(dim=1) * weight.double().cpu()[:, None]).float().to(device), temperature)

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the targets (n, K) of the rows at these positions."""
        return self.targets[rows.to(self.targets.device)]

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean of weight times KL(teacher || network) over the rows, both softened, from `logits` (n, K).

        For mixed rows `targets` (n, K) are mixed too. The gradient is that of the cross-entropy, which is linear in the
        targets, so it is the mean of the gradients that the parts would have alone.
        """
        weight = targets.sum(dim=1)
        teacher = targets / weight.clamp(min=_SMALLEST)[:, None]
        log_network = functional.log_softmax(logits.float() / self.temperature, dim=1)
        distance = functional.kl_div(log_network, teacher, reduction="none").sum(dim=1)
        return (weight * distance).mean()
