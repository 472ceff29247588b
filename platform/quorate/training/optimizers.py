"""Optimizers that a job file can name: torch's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field, model_validator

from quorate.kinds import OPTIMIZERS, KindParams


class SgdParams(KindParams):
    kind: Literal["sgd"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    """Part of the last step that is kept (Polyak, 1964)."""
    nesterov: bool = False
    """Nesterov's variant (Sutskever et al., 2013)."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SgdParams:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


@OPTIMIZERS.register("sgd")
class Sgd:
    """Stochastic gradient descent with momentum."""

    Params = SgdParams

    @staticmethod
    def build(
        params: SgdParams, weights: Iterable[torch.nn.Parameter], *, lr: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            weights, lr=lr, momentum=params.momentum, nesterov=params.nesterov, weight_decay=weight_decay
        )
