"""One trial of a search: the parameters of a member, its fits, and what they have reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from quorate.members.base import Proba
from quorate.plan.identity import digest, identity_of
from quorate.plan.steps import until
from quorate.plan.tasks import FitTask
from quorate.search.ladder import Step
from quorate.search.schedulers import Standing
from quorate.spec import MemberParams
from quorate.spec.space import Point

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


@dataclass(eq=False)
class Trial:
    """A trial and its state; `number` counts from 0."""

    number: int
    name: str
    params: MemberParams
    source: str
    """`written`, the name of an entry of the portfolio, or the method that suggested it."""
    point: Point | None
    """Its values in the space; None for parameters that the space does not contain."""
    fits: tuple[FitTask, ...] = ()
    """The complete fits, one per fold; empty if the member cannot be planned."""
    suggestion: int | None = None
    """The number by which the method knows it; None if the method does not."""
    state: str = "running"
    problem: str = ""
    step: int = 0
    """The steps that it has ended."""
    ends: dict[str, FitEnd] = field(default_factory=dict)
    """The ends of its tasks, by their keys."""
    standings: list[Standing] = field(default_factory=list)

    def tasks(self, step: Step) -> Iterator[FitTask]:
        """The tasks whose ends a step needs."""
        epochs = step.epochs(self.params)
        for task in self.fits[: step.folds]:
            yield task if epochs is None else until(task, epochs)

    def reached(self, step: Step) -> Mapping[int, FitEnd] | None:
        """The ends of the tasks of a step by their folds; None while one is missing."""
        found = {task.fold: self.ends.get(task.key) for task in self.tasks(step)}
        return None if None in found.values() else found  # type: ignore[return-value]

    @property
    def loss(self) -> float | None:
        """The loss after its last step; None before the first one."""
        return self.standings[-1].loss if self.standings else None

    @property
    def is_complete(self) -> bool:
        return self.state == "complete"
