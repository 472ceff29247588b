"""Lower the learning rate when a validation metric stops improving: torch's rule, applied once per epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR, ReduceLROnPlateau

FIGURES = Literal["valid_loss", "valid_accuracy", "valid_precision", "valid_recall"]


class ReduceOnPlateau:
    """torch's `ReduceLROnPlateau` with a relative threshold, after a warm-up whose epochs do not count."""

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        metric: FIGURES,
        factor: float,
        patience: int,
        threshold: float,
        least: float,
        warmup: LinearLR | None,
    ) -> None:
        self._metric = metric
        self._warmup = warmup
        self._rule = ReduceLROnPlateau(
            optimizer,
            mode="min" if metric.endswith("_loss") else "max",
            factor=factor,
            patience=patience,
            threshold=threshold,
            min_lr=least,
        )

    def step(self) -> None:
        if self._warmup is not None:  # once the warm-up is over, this step does not change the learning rate
            self._warmup.step()

    def end_epoch(self, figures: Mapping[str, float]) -> None:
        if self._warmup is None or self._warmup.last_epoch > self._warmup.total_iters:
            self._rule.step(figures[self._metric])

    def state_dict(self) -> dict[str, Any]:
        return {
            "rule": self._rule.state_dict(),
            "warmup": self._warmup.state_dict() if self._warmup is not None else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._rule.load_state_dict(state_dict["rule"])
        if self._warmup is not None:
            self._warmup.load_state_dict(state_dict["warmup"])
