"""The search itself: suggestions become trials, and the ends of their fits become further steps and suggestions.

Nothing here depends on time or on the number of workers. Trials run on a clock of their own: `parallel` workers, each
with one trial, on which a step takes as long as it trains. The ends of fits arrive in any order, and are used in the
order of this clock. So a search that starts again with the same results makes the same trials in the same order.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from quorate.errors import UserError
from quorate.plan.tasks import FitTask
from quorate.search.base import Scheduler, Standing, Suggester
from quorate.search.ladder import Step
from quorate.search.trial import FitEnd, Trial, TrialState
from quorate.spec import MemberParams
from quorate.spec.space import Point

_MOST_KNOWN = 100
"""Number of suggestions in a row that are known already, after which a method has nothing new (an assumption)."""
_MOST_INVALID = 20
"""Number of suggestions that make no valid member, after which a search without a valid one ends (an assumption)."""
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


@dataclass
class Orders:
    """What the session of a search has to do next, and the trials that have ended."""

    submit: list[FitTask] = field(default_factory=list)
    cancel: list[FitTask] = field(default_factory=list)
    ended: list[Trial] = field(default_factory=list)


class Search:
    """The trials of a search.

    `first` are tried before the suggestions. `candidate` makes a member from a point. `plan` returns its fits and
    raises `ValueError` if it cannot be planned. `score` returns the loss and the losses by fold of ended fits.
    """

    def __init__(
        self,
        *,
        trials: int,
        parallel: int,
        steps: Sequence[Step],
        first: Sequence[Candidate],
        suggester: Suggester,
        scheduler: Scheduler,
        candidate: Callable[[Point], Candidate],
        plan: Callable[[str, MemberParams], Sequence[FitTask]],
        score: Callable[[Mapping[int, FitEnd]], tuple[float, Mapping[int, float]]],
    ) -> None:
        self._most, self._parallel, self._steps = trials, parallel, tuple(steps)
        self._first, self._asked = deque(first), deque[tuple[int, Point]]()
        self._suggester, self._scheduler = suggester, scheduler
        self._candidate, self._plan, self._score = candidate, plan, score
        self._suggested = 0
        self._clock = 0.0
        self._due: list[tuple[float, int]] = []
        """When the trials at work end their step, with their numbers; a heap."""
        self._of: dict[str, Trial] = {}
        """The trial of each task that was submitted, by its key."""
        self._orders = Orders()
        self._known: dict[str, Trial] = {}
        """The trials by their names."""
        self.trials: list[Trial] = []
        self.best: Trial | None = None
        """The complete trial with the lowest loss; the first of equal ones."""
        self.ended = ""
        """Why there are no further trials; empty while there are."""

    def begin(self) -> Orders:
        """The tasks of the first trials."""
        self._fill()
        return self._taken()

    def on(self, key: str, end: FitEnd) -> Orders:
        """Handle the end of a task; returns what follows from it."""
        trial = self._of[key]
        if trial.state == "running":
            trial.ends[key] = end
            if end.valid is None:
                self._give_up(trial)
            self._advance()
        return self._taken()

    def stop(self, reason: str) -> None:
        """Begin no further trials."""
        self.ended = self.ended or reason

    def number_of(self, key: str) -> int:
        """The number of the trial of a task; -1 for a task of no trial."""
        trial = self._of.get(key)
        return trial.number if trial is not None else -1

    def _taken(self) -> Orders:
        taken, self._orders = self._orders, Orders()
        return taken

    def _fill(self) -> None:
        """Begin trials until as many are at work as may be."""
        while len(self._due) < self._parallel and not self.ended:
            if len(self.trials) == self._most:
                self.ended = f"the search had all {self._most} trials"
            elif (trial := self._next()) is not None:
                self._begin(trial)

    def _next(self) -> Trial | None:
        """The next trial; None if there is none."""
        if self._first:
            candidate = self._first.popleft()
            numbers = [self._number_of(candidate.point)] if candidate.point is not None else []
            return self._added(candidate, [number for number in numbers if number is not None])
        for _ in range(_MOST_KNOWN):
            if (found := self._suggestion()) is None:
                self.ended = "the method has no further points"
                return None
            number, point = found
            candidate = self._candidate(point)
            if (twin := self._known.get(candidate.name)) is None:
                return self._added(candidate, [number])
            self._tell(twin, [number])
        self.ended = f"the last {_MOST_KNOWN} suggestions were known already"
        return None

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

    def _added(self, candidate: Candidate, numbers: list[int]) -> Trial:
        trial = Trial(len(self.trials), candidate.name, candidate.params, candidate.source, candidate.point)
        trial.suggestions, trial.problem = numbers, candidate.problem
        self.trials.append(trial)
        self._known[trial.name] = trial
        return trial

    def _begin(self, trial: Trial) -> None:
        if trial.params is not None:
            try:
                trial.fits = tuple(self._plan(trial.name, trial.params))
            except ValueError as error:
                trial.problem = str(error)
        if not trial.fits:
            self._end(trial, "invalid")
            self._check_any_valid()
            return
        self._scheduler.begin(trial.number)
        self._step(trial)

    def _check_any_valid(self) -> None:
        """Raise `UserError` if a space seems to have no valid member."""
        suggested = [trial for trial in self.trials if trial.suggestions]
        if len(suggested) >= _MOST_INVALID and all(trial.state == "invalid" for trial in suggested):
            raise UserError(
                f"none of the first {len(suggested)} suggested members can be trained on these data, for example: "
                f"{suggested[-1].problem}; change the space"
            )

    def _step(self, trial: Trial) -> None:
        """Let a trial begin its next step."""
        step, before = self._steps[trial.step], self._steps[trial.step - 1] if trial.step else Step(0)
        trained = max(step.folds * step.part - before.folds * before.part, 0.0)
        heapq.heappush(self._due, (self._clock + trained, trial.number))
        for task in trial.tasks(step):
            if task.key not in self._of:
                self._of[task.key] = trial
                self._orders.submit.append(task)

    def _advance(self) -> None:
        """End the steps whose fits have ended, in the order of the clock."""
        while self._due:
            due, number = self._due[0]
            trial = self.trials[number]
            if (ends := trial.reached(self._steps[trial.step])) is None:
                return
            heapq.heappop(self._due)
            self._clock = due
            trial.step += 1
            self._judge(trial, ends)
            self._fill()

    def _judge(self, trial: Trial, ends: Mapping[int, FitEnd]) -> None:
        """Decide how a trial that has ended a step goes on."""
        if problems := [end for end in ends.values() if end.valid is None]:
            worst = next((end for end in problems if not end.late), problems[0])
            trial.problem = worst.problem
            self._scheduler.end(trial.number, None)
            self._end(trial, "out of time" if worst.late else "failed")
            return
        loss, by_fold = self._score(ends)
        reached = Standing(trial.step, loss, by_fold)
        trial.standings.append(reached)
        kept = {task.key for task in trial.tasks(self._steps[trial.step - 1])}
        trial.ends = {key: end for key, end in trial.ends.items() if key in kept}
        if trial.step == len(self._steps):
            self._scheduler.end(trial.number, reached)
            self.best = min((one for one in (self.best, trial) if one), key=lambda one: (one.loss, one.number))
            self._end(trial, "complete")
            return
        for number in trial.suggestions:
            self._suggester.report(number, trial.step, loss)
        if self._scheduler.goes_on(trial.number, reached):
            self._step(trial)
        else:
            self._end(trial, "stopped")

    def _end(self, trial: Trial, state: TrialState) -> None:
        trial.state = state
        self._orders.ended.append(trial)
        self._tell(trial, trial.suggestions)

    def _tell(self, trial: Trial, numbers: list[int]) -> None:
        """Tell the method how a trial has ended; if it has not, later."""
        if trial.state == "running":
            trial.suggestions += numbers
            return
        for number in numbers:
            self._suggester.end(number, trial.loss if trial.state == "complete" else None)

    def _give_up(self, trial: Trial) -> None:
        """A fit of a trial has no result: its other fits of this step are not needed."""
        for task in trial.tasks(self._steps[trial.step]):
            if task.key not in trial.ends:
                trial.ends[task.key] = FitEnd(None, problem="another fold has no result", late=True)
                self._orders.cancel.append(task)


def _is_near(suggested: Point, given: Point) -> bool:
    """Whether a suggested point is a given one, whose numbers may have more digits."""

    def near(value: object, other: object) -> bool:
        if isinstance(value, float) and isinstance(other, float):
            return math.isclose(value, other, rel_tol=_NEAR)
        return value == other

    return suggested.keys() == given.keys() and all(near(value, given[name]) for name, value in suggested.items())
