"""The search itself: suggestions become trials, and the ends of their fits become further steps and suggestions.

Nothing here depends on time or on the number of workers. Trials run on a clock of their own: `parallel` workers, each
with one trial, on which a step takes as long as it trains. The ends of fits arrive in any order, and are used in the
order of this clock. So a search that starts again with the same results makes the same trials in the same order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from quorate.errors import UserError
from quorate.plan.tasks import FitTask
from quorate.search.base import Scheduler, Standing
from quorate.search.ladder import Step
from quorate.search.proposals import Candidate, Proposals
from quorate.search.trial import FitEnd, Trial, TrialState
from quorate.spec import MemberParams

_MOST_INVALID = 20
"""Number of suggestions that make no valid member, after which a search without a valid one ends (an assumption)."""


@dataclass
class Orders:
    """What the session of a search has to do next, and the trials that have ended."""

    submit: list[FitTask] = field(default_factory=list)
    cancel: list[FitTask] = field(default_factory=list)
    ended: list[Trial] = field(default_factory=list)


class Search:
    """The trials of a search.

    `plan` returns the fits of a member and raises `ValueError` if it cannot be planned. `score` returns the loss and
    the losses by fold of ended fits.
    """

    def __init__(
        self,
        *,
        trials: int,
        parallel: int,
        steps: Sequence[Step],
        proposals: Proposals,
        scheduler: Scheduler,
        plan: Callable[[str, MemberParams], Sequence[FitTask]],
        score: Callable[[Mapping[int, FitEnd]], tuple[float, Mapping[int, float]]],
    ) -> None:
        self._most, self._parallel, self._steps = trials, parallel, tuple(steps)
        self._proposals, self._scheduler = proposals, scheduler
        self._plan, self._score = plan, score
        self._clock = 0.0
        self._due: list[tuple[float, int]] = []
        """When the trials at work end their step, with their numbers; a heap."""
        self._of: dict[str, Trial] = {}
        """The trial of each task that was submitted, by its key."""
        self._orders = Orders()
        self.trials: list[Trial] = []
        self.best: Trial | None = None
        """The complete trial with the lowest loss; the first of equal ones."""
        self.ended = ""
        """Why there are no further trials; empty while there are."""

    def begin(self) -> Orders:
        """The tasks of the first trials; raises `UserError` if a space seems to have no valid member."""
        self._fill()
        if self.trials and all(trial.state == "invalid" for trial in self.trials):
            raise _without_members(self.trials)
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
            elif (found := self._proposals.next()) is None:
                self.ended = self._proposals.ended
            else:
                self._begin(self._added(*found))

    def _added(self, candidate: Candidate, numbers: list[int]) -> Trial:
        trial = Trial(len(self.trials), candidate.name, candidate.params, candidate.source, candidate.point)
        trial.suggestions, trial.problem = numbers, candidate.problem
        self.trials.append(trial)
        self._proposals.add(trial)
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
            raise _without_members(suggested)

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
            if (reached := self._reach(trial, ends)) is not None:
                self._judge(trial, reached)
            self._fill()

    def _reach(self, trial: Trial, ends: Mapping[int, FitEnd]) -> Standing | None:
        """Note that a trial has ended a step; returns its standing if it may go on, and None if it has ended."""
        trial.step += 1
        if problems := [end for end in ends.values() if end.valid is None]:
            worst = next((end for end in problems if not end.late), problems[0])
            trial.problem = worst.problem
            self._scheduler.end(trial.number, None)
            self._end(trial, "out of time" if worst.late else "failed")
            return None
        loss, by_fold = self._score(ends)
        reached = Standing(trial.step, loss, by_fold)
        trial.standings.append(reached)
        kept = {task.key for task in trial.tasks(self._steps[trial.step - 1])}
        trial.ends = {key: end for key, end in trial.ends.items() if key in kept}
        if trial.step < len(self._steps):
            self._proposals.report(trial, loss)
            return reached
        self._scheduler.end(trial.number, reached)
        self.best = min((one for one in (self.best, trial) if one), key=lambda one: (one.loss, one.number))
        self._end(trial, "complete")
        return None

    def _judge(self, trial: Trial, reached: Standing) -> None:
        """Decide whether a trial that has ended a step goes on."""
        if self._scheduler.goes_on(trial.number, reached):
            self._step(trial)
        else:
            self._end(trial, "stopped")

    def _end(self, trial: Trial, state: TrialState) -> None:
        trial.state = state
        self._orders.ended.append(trial)
        self._proposals.end(trial)

    def _give_up(self, trial: Trial) -> None:
        """A fit of a trial has no result: its other fits of this step are not needed."""
        for task in trial.tasks(self._steps[trial.step]):
            if task.key not in trial.ends:
                trial.ends[task.key] = FitEnd(None, problem="another fold has no result", late=True)
                self._orders.cancel.append(task)


def _without_members(trials: Sequence[Trial]) -> UserError:
    return UserError(
        f"none of the first {len(trials)} members can be trained on these data, for example: {trials[-1].problem}; "
        "change the space"
    )
