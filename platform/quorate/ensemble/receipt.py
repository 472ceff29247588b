"""The receipt of an ensemble: what its members cost, and what smaller ones would be worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quorate.ensemble.arrays import Floats
from quorate.ensemble.worth import PrunedEnsemble


@dataclass(frozen=True)
class Goal:
    """What the smaller ensemble has to keep to; exactly one of them."""

    members: int | None = None
    milliseconds: float | None = None
    """For a request of one row."""
    loss: float | None = None
    """By how much the out-of-fold log-loss may rise, the standard error of its paired difference included: of many
    ensembles on few rows, some look better than they are."""

    def met(self, step: PrunedEnsemble) -> bool:
        if self.members is not None:
            return len(step.left) <= self.members
        if self.milliseconds is not None:
            return step.cost <= self.milliseconds
        return self.loss is not None and step.change.nll + step.change.nll_error <= self.loss


@dataclass(frozen=True, eq=False)
class Receipt:
    """The members that weigh something, their prices, and the ensembles that are left as one after another goes."""

    names: tuple[str, ...]
    milliseconds: Floats
    """Of each member for one row, on this machine."""
    fit_seconds: Floats
    steps: tuple[PrunedEnsemble, ...]
    """From the whole ensemble to a single member."""
    rows: int
    """Out-of-fold rows that the losses were told from."""

    def chosen(self, goal: Goal) -> PrunedEnsemble | None:
        """The fastest step that keeps a loss, the largest that keeps the other goals; None where none does."""
        meeting = [step for step in self.steps if goal.met(step)]
        if not meeting:
            return None
        return min(meeting, key=lambda step: step.cost) if goal.loss is not None else meeting[0]

    def to_json(self) -> dict[str, Any]:
        prices = zip(self.names, self.milliseconds, self.fit_seconds, strict=True)
        return {
            "rows": self.rows,
            "members": [{"name": name, "predict_ms": float(ms), "fit_seconds": float(s)} for name, ms, s in prices],
            "steps": [
                {"left": [self.names[m] for m in step.left], "predict_ms": step.cost, **vars(step.change)}
                for step in self.steps
            ],
        }
