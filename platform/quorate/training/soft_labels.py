"""What a teacher says of the training rows, and the loss of a network that learns from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

_SMALLEST = 1e-12
"""Where the logarithm of a probability is cut off, as in the ensemble's calibration."""


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """A teacher's softened probabilities of each training row, each row times what it counts."""

    targets: torch.Tensor
    """float32 (N, K) on the device; the sum of a row is its weight, 0 where the teacher says nothing."""
    temperature: float
    """By which the network's logits are softened, as the teacher's were."""

    @classmethod
    def softened(
        cls, proba: NDArray[np.floating[Any]], *, temperature: float, weight: torch.Tensor, device: str
    ) -> SoftLabels:
        """softmax(log p / T) of probabilities (N, K), times the `weight` (N,) of each row."""
        logits = torch.from_numpy(np.array(proba, np.float64)).clamp(min=_SMALLEST).log() / temperature
        return cls((logits.softmax(dim=1) * weight.double().cpu()[:, None]).float().to(device), temperature)

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """The targets (n, K) of the rows at these positions."""
        return self.targets[rows.to(self.targets.device)]

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean over the rows of weight times KL(teacher || network), both softened, from `logits` (n, K).

        Of mixed rows `targets` (n, K) are mixed too. The gradient is that of the cross-entropy with them, which is
        linear in them: the mean over the parts of what each part would have alone.
        """
        weight = targets.sum(dim=1)
        teacher = targets / weight.clamp(min=_SMALLEST)[:, None]
        log_network = functional.log_softmax(logits.float() / self.temperature, dim=1)
        distance = functional.kl_div(log_network, teacher, reduction="none").sum(dim=1)
        return (weight * distance).mean()
