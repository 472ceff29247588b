"""The pruning path of an ensemble: its members with their costs, and the smaller ensembles, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quorate.ensemble.ablation import PrunedEnsemble
from quorate.ensemble.arrays import Floats


@dataclass(frozen=True)
class Goal:
    """The requirement on the smaller ensemble; exactly one field is set."""

    members: int | None = None
    milliseconds: float | None = None
    """Maximum time for a request of one row."""
    loss: float | None = None
    """Maximum increase of the out-of-fold log-loss, including the standard error of its paired difference: with few
    rows, some of many ensembles look better by chance."""

    def met(self, step: PrunedEnsemble) -> bool:
        if self.members is not None:
            return len(step.left) <= self.members
        if self.milliseconds is not None:
            return step.cost <= self.milliseconds
        return self.loss is not None and step.change.nll + step.change.nll_error <= self.loss


@dataclass(frozen=True, eq=False)
class PruningPath:
    """The members with a positive weight, their costs, and the ensemble that is left after each removal of a member."""

    names: tuple[str, ...]
    milliseconds: Floats
    """Prediction time of each member for one row, on this machine."""
    fit_seconds: Floats
    steps: tuple[PrunedEnsemble, ...]
    """The ensembles, from the whole one to a single member."""
    rows: int
    """Number of out-of-fold rows behind the losses."""

    def chosen(self, goal: Goal) -> PrunedEnsemble | None:
        """Return the fastest step that meets a `loss` goal, or the one with the most members that meets another goal;
        None if no step does."""
        meeting = [step for step in self.steps if goal.met(step)]
        if not meeting:
            return None
        return min(meeting, key=lambda step: step.cost) if goal.loss is not None else meeting[0]

    def to_json(self) -> dict[str, Any]:
        costs = zip(self.names, self.milliseconds, self.fit_seconds, strict=True)
        return {
            "rows": self.rows,
            "members": [{"name": name, "predict_ms": float(ms), "fit_seconds": float(s)} for name, ms, s in costs],
            "steps": [
                {"left": [self.names[m] for m in step.left], "predict_ms": step.cost, **vars(step.change)}
                for step in self.steps
            ],
        }
