"""The contracts of a method that suggests points, and of a scheduler that stops trials.

Their implementations import Ray, which reads the environment when it is imported. So other modules import them late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from quorate.spec.space import Point


class Suggester(Protocol):
    """Suggests points; it learns the losses of those that it has suggested, by the numbers of their trials."""

    def suggest(self, number: int) -> Point | None:
        """The point of the next trial; None if there are no more."""

    def report(self, number: int, step: int, loss: float) -> None:
        """The loss of a trial after a step; the steps of a trial ascend from 1."""

    def end(self, number: int, loss: float | None) -> None:
        """The trial is complete, or it has no final loss because it was stopped or has failed."""


@dataclass(frozen=True)
class Standing:
    """The losses of a trial after a step."""

    step: int
    """Counted from 1."""
    loss: float
    by_fold: Mapping[int, float]


class Scheduler(Protocol):
    """Decides about trials by their numbers; the order of the calls is that of the decisions."""

    def begin(self, number: int) -> None: ...

    def goes_on(self, number: int, reached: Standing) -> bool:
        """Whether a trial goes on."""

    def end(self, number: int, reached: Standing | None) -> None:
        """The trial has ended: it is complete, or it has failed."""
