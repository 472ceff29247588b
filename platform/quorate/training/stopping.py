"""When training ends before its last epoch, and which epoch's weights were the best."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from pydantic import Field

from quorate.registry import Spec

Metric = Literal["loss", "accuracy", "precision", "recall"]


class EarlyStopping(Spec):
    """End when a figure of the validation rows has not improved for a while; the best epoch is restored."""

    metric: Metric = "loss"
    """Which figure: the log-loss in nats, or accuracy, macro precision or macro recall."""
    patience: int = Field(5, ge=1)
    """Epochs without improvement after which training ends."""
    min_delta: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Least improvement that counts, in the figure's unit."""


@dataclass
class BestEpoch:
    """The weights of the best epoch; `loss` is what they were judged by, the less the better."""

    loss: float = math.inf
    epoch: int = -1
    weights: dict[str, torch.Tensor] = field(default_factory=dict)


def badness(figures: dict[str, float], metric: Metric) -> float:
    """An epoch's figure, turned so that less is better."""
    value = figures[f"valid_{metric}"]
    return value if metric == "loss" else -value
