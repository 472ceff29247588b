"""Early stopping: when training ends before its last epoch, and which epoch's weights are the best."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from quorate.registry import Spec
from quorate.temperature import best_temperature, scaled_loss

Metric = Literal["loss", "accuracy", "precision", "recall", "calibrated_loss"]
_LOW_IS_GOOD = ("loss", "calibrated_loss")


# The default of `patience` is an assumption, not a measurement.
class EarlyStopping(Spec):
    """Stop when a validation metric has not improved for a while; the best epoch's weights are restored."""

    metric: Metric = "loss"
    """The metric: the log-loss in nats, accuracy, macro precision, macro recall, or `calibrated_loss`: the log-loss
    after temperature scaling, with the best temperature for the validation rows at each epoch (Berta et al., 2025)."""
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
    return value if metric in _LOW_IS_GOOD else -value


def calibrated_loss(logits: torch.Tensor, y: torch.Tensor) -> float:
    """Return the log-loss in nats of `logits` (N, K) on the labels `y` (N,), after temperature scaling with the best
    temperature for these rows."""
    classes_first = np.ascontiguousarray(logits.double().cpu().numpy().T)
    labels = y.cpu().numpy()
    return scaled_loss(classes_first, labels, best_temperature(classes_first, labels))
