"""A momentum that rises at the beginning of a training run."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch.optim import Optimizer

from quorate.registry import Spec


# Hinton (2012, "A practical guide to training restricted Boltzmann machines") starts with a momentum of 0.5. The
# default of `epochs` is an assumption, not a measurement.
class MomentumWarmup(Spec):
    """A lower momentum at the beginning, while gradients are large and change direction (Hinton, 2012)."""

    start: float = Field(0.5, gt=0, lt=1)
    """The momentum of the first step."""
    epochs: int = Field(5, ge=1)
    """Epochs in which it rises linearly to `momentum`."""


class RisingMomentum:
    """Sets the momentum of every group of an optimizer, from the number of steps alone."""

    def __init__(self, optimizer: Optimizer, warmup: MomentumWarmup, *, momentum: float, steps: int) -> None:
        self._optimizer = optimizer
        self._start, self._rise, self._length = warmup.start, momentum - warmup.start, warmup.epochs * steps
        self._momentum = momentum
        self._step = 0
        self._set()

    def step(self) -> None:
        self._step += 1
        self._set()

    def _set(self) -> None:
        part = self._step / self._length
        momentum = self._start + self._rise * part if part < 1 else self._momentum
        for group in self._optimizer.param_groups:
            group["momentum"] = momentum

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._step = state_dict["step"]
        self._set()
