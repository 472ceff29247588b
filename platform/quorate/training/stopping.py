"""Early stopping: when training ends before its last epoch, and which epoch's weights are the best."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from pydantic import Field

from quorate.registry import Spec

Metric = Literal["loss", "accuracy", "precision", "recall"]


# The default of `patience` is an assumption, not a measurement.
class EarlyStopping(Spec):
    """Stop when a validation metric has not improved for a while; the best epoch's weights are restored."""

    metric: Metric = "loss"
    """The metric: the log-loss in nats, or accuracy, macro precision or macro recall."""
    patience: int = Field(5, ge=1)
    """Epochs without improvement after which training ends."""
    min_delta: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Minimum improvement that counts, in the metric's unit."""

    def is_better(self, loss: float, best: BestEpoch) -> bool:
        """Return whether an epoch with this criterion (see `as_loss`) is better than the best one before it."""
        return loss < best.loss - self.min_delta


@dataclass
class BestEpoch:
    """The weights of the best epoch; `loss` is the criterion, and lower is better."""

    loss: float = math.inf
    epoch: int = -1
    weights: dict[str, torch.Tensor] = field(default_factory=dict)


def as_loss(figures: dict[str, float], metric: Metric) -> float:
    """Return an epoch's metric with its sign chosen so that lower is better."""
    value = figures[f"valid_{metric}"]
    return value if metric == "loss" else -value
