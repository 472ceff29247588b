"""Compute one epoch's metrics from summed losses and a confusion matrix."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch

_SUMS = ("loss", "confusion", "steps", "norms")


def with_labels(history: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """Return the epochs of a history that were trained on labels: all except those of a pretraining, which come
    first."""
    return [figures for figures in history if "pretrain_loss" not in figures]


class Tally:
    """Accumulate losses and a confusion matrix over an epoch's batches, on the device, without synchronization."""

    def __init__(self, n_classes: int, device: torch.device | str) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.confusion = torch.zeros(n_classes, n_classes, dtype=torch.int64, device=device)
        self.steps = torch.zeros((), dtype=torch.int64, device=device)
        self.norms = torch.zeros((), dtype=torch.float64, device=device)

    def add_step(self, norm: torch.Tensor) -> None:
        """Add the norm of the gradients of one step, a scalar."""
        self.steps += 1
        self.norms += norm.detach().double()

    def norm(self) -> float:
        """Mean gradient norm of the steps."""
        return float(self.norms / self.steps.clamp(min=1))

    def add(self, loss: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> None:
        """Add a batch with mean loss `loss`, `logits` (n, K) and `y` (n,)."""
        self.loss += loss.detach().double() * len(y)
        k = len(self.confusion)
        cell = y * k + logits.detach().argmax(1)
        self.confusion += torch.bincount(cell, minlength=k * k).view(k, k)

    def copy(self) -> Tally:
        return copy.deepcopy(self)

    def state(self) -> dict[str, torch.Tensor]:
        return {name: getattr(self, name) for name in _SUMS}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        for name in _SUMS:
            getattr(self, name).copy_(state[name])

    def figures(self, prefix: str) -> dict[str, float]:
        """Return mean loss in nats, accuracy, and precision and recall averaged over the classes that occur.

        A class that is never predicted has precision 0, and one without rows has recall 0, as in scikit-learn with
        `average="macro"` and `zero_division=0`.
        """
        confusion = self.confusion.double().cpu()
        right, true, predicted = confusion.diag(), confusion.sum(1), confusion.sum(0)
        occurs = (true + predicted) > 0
        rows = confusion.sum().clamp(min=1)
        return {
            f"{prefix}_loss": float(self.loss.cpu() / rows),
            f"{prefix}_accuracy": float(right.sum() / rows),
            f"{prefix}_precision": float((right / predicted.clamp(min=1))[occurs].mean()),
            f"{prefix}_recall": float((right / true.clamp(min=1))[occurs].mean()),
        }
