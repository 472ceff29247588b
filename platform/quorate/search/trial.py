"""One trial of a search: the parameters of a member, its fits, and what they have reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from quorate.members.base import Proba
from quorate.plan.identity import digest, identity_of
from quorate.plan.steps import until
from quorate.plan.tasks import FitTask
from quorate.search.base import Standing
from quorate.search.ladder import Step
from quorate.spec import MemberParams
from quorate.spec.space import Point

TrialState = Literal["running", "complete", "stopped", "failed", "invalid", "out of time"]

_HASH = 10
"""Hexadecimal digits of the hash in the name of a trial: two of 10,000 trials share one with probability 5e-5."""
_NAME = 100 - _HASH - 1
"""Most characters of the member's name in the name of a trial; names have at most 100."""


def trial_name(member: str, params: MemberParams) -> str:
    """The name of the member that a trial is: the same in every search, because seeds and keys depend on it."""
    return f"{member[:_NAME]}-{digest(params=identity_of(params))[:_HASH]}"


@dataclass(frozen=True)
class FitEnd:
    """How a fit has ended: the predictions of its validation rows, or a problem."""

    valid: Proba | None
    epochs: int = 0
    seconds: float = 0.0
    reused: bool = False
    problem: str = ""
    """Why it has no predictions, such as `diverged: the loss is not finite`."""
    late: bool = False
    """Whether the reason is that the time was up."""


@dataclass(eq=False)
class Trial:
    """A trial and its state; `number` counts from 0."""

    number: int
    name: str
    params: MemberParams | None
    """None if its point makes no valid member."""
    source: str
    """`written`, the name of an entry of the portfolio, the method that suggested it, or what it continues."""
    point: Point | None
    """Its values in the space; None if it has others."""
    fits: tuple[FitTask, ...] = ()
    """The complete fits, one per fold; empty if the member cannot be planned."""
    suggestions: list[int] = field(default_factory=list)
    """The numbers by which the method knows it: several if it was suggested again, none if it was not."""
    state: TrialState = "running"
    problem: str = ""
    step: int = 0
    """The number of steps that it has ended."""
    ends: dict[str, FitEnd] = field(default_factory=dict)
    """The ends of its tasks, by their keys."""
    standings: list[Standing] = field(default_factory=list)

    def tasks(self, step: Step) -> tuple[FitTask, ...]:
        """The tasks whose ends a step needs."""
        assert self.params is not None, "it has begun"
        epochs = step.epochs(self.params)
        return tuple(task if epochs is None else until(task, epochs) for task in self.fits[: step.folds])

    def reached(self, step: Step) -> Mapping[int, FitEnd] | None:
        """The ends of the tasks of a step by their folds; None while one is missing."""
        tasks = self.tasks(step)
        found = {task.fold: self.ends[task.key] for task in tasks if task.key in self.ends}
        return found if len(found) == len(tasks) else None

    @property
    def loss(self) -> float | None:
        """The loss after its last step; None before the first one."""
        return self.standings[-1].loss if self.standings else None
