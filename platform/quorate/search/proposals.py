"""The candidates of a search in their order: the given ones, then the suggestions of a method."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quorate.search.base import Suggester
from quorate.search.trial import Trial
from quorate.spec import MemberParams
from quorate.spec.space import Point

MOST_KNOWN = 100
"""Number of suggestions in a row that are known already, after which a method has nothing new (an assumption)."""
_NEAR = 1e-3
"""Relative difference below which a suggested number is a given one: suggestions are rounded."""


@dataclass(frozen=True)
class Candidate:
    """A member that a trial can train: its name, its parameters and its place in the space."""

    name: str
    params: MemberParams | None
    """None if the point makes no valid member."""
    source: str
    point: Point | None
    problem: str = ""


class Proposals:
    """The next candidates, and what the method knows of the trials.

    `first` come before the suggestions. `candidate` makes a member from a point.
    """

    def __init__(
        self, first: Sequence[Candidate], suggester: Suggester, candidate: Callable[[Point], Candidate]
    ) -> None:
        self._first, self._asked = deque(first), deque[tuple[int, Point]]()
        self._suggester, self._candidate = suggester, candidate
        self._suggested = 0
        self._known: dict[str, Trial] = {}
        """The trials by their names."""
        self.ended = ""
        """Why there are no further candidates; empty while there are."""

    def next(self) -> tuple[Candidate, list[int]] | None:
        """A candidate that no trial has, with the numbers by which the method knows it; None if there is none."""
        if self._first:
            candidate = self._first.popleft()
            number = self._number_of(candidate.point) if candidate.point is not None else None
            return candidate, [] if number is None else [number]
        for _ in range(MOST_KNOWN):
            if (found := self._suggestion()) is None:
                self.ended = "the method has no further points"
                return None
            number, point = found
            candidate = self._candidate(point)
            if (twin := self._known.get(candidate.name)) is None:
                return candidate, [number]
            self._tell(twin, [number])
        self.ended = f"the last {MOST_KNOWN} suggestions were known already"
        return None

    def knows(self, name: str) -> bool:
        """Whether there is a trial with this name."""
        return name in self._known

    def add(self, trial: Trial) -> None:
        """Note that a candidate has become a trial."""
        self._known[trial.name] = trial

    def report(self, trial: Trial, loss: float) -> None:
        """Tell the method the loss of a trial after its newest step."""
        for number in trial.suggestions:
            self._suggester.report(number, trial.step, loss)

    def end(self, trial: Trial) -> None:
        """Tell the method how a trial has ended."""
        self._tell(trial, trial.suggestions)

    def _tell(self, trial: Trial, numbers: list[int]) -> None:
        """Tell the method how a trial has ended; if it has not, later."""
        if trial.state == "running":
            trial.suggestions += numbers
            return
        for number in numbers:
            self._suggester.end(number, trial.loss if trial.state == "complete" else None)

    def _number_of(self, point: Point) -> int | None:
        """The number by which the method knows a point that was given to it; None if it does not begin with it."""
        if (found := self._suggestion()) is None:
            return None
        if _is_near(found[1], point):
            return found[0]
        self._asked.append(found)
        return None

    def _suggestion(self) -> tuple[int, Point] | None:
        if self._asked and not self._first:
            return self._asked.popleft()
        number = self._suggested
        point = self._suggester.suggest(number)
        self._suggested += 1
        return (number, point) if point is not None else None


def _is_near(suggested: Point, given: Point) -> bool:
    """Whether a suggested point is a given one, whose numbers may have more digits."""

    def near(value: object, other: object) -> bool:
        if isinstance(value, float) and isinstance(other, float):
            return math.isclose(value, other, rel_tol=_NEAR)
        return value == other

    return suggested.keys() == given.keys() and all(near(value, given[name]) for name, value in suggested.items())
