"""Population based training (Jaderberg et al., 2017): after each step, the worst trials take over what the best ones
have learned, and go on with slightly different parameters."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from quorate.plan.tasks import FitTask
from quorate.search.base import Scheduler, Standing
from quorate.search.ladder import Step
from quorate.search.proposals import Candidate, Proposals
from quorate.search.search import Orders, Search
from quorate.search.trial import FitEnd, Trial, trial_name
from quorate.spec import MemberParams
from quorate.spec.configuration import configured, values_in
from quorate.spec.space import Interval, Parameter, Point

_QUANTILE = 0.25
"""Part of the trials that are replaced after a step, and part of those that replace them: Tune's default."""
_RESAMPLED = 0.25
"""Probability with which a parameter gets a new random value: Tune's default."""
_FACTORS = (0.8, 1.2)
"""Other numbers are multiplied by one of these: Tune's defaults, those of Jaderberg et al."""
_TRIES = 20
"""Number of changed points that are tried; the others are known already, or make no valid member (an assumption)."""


class Population(Search):
    """A search whose trials train at the same time, and wait for each other after each step.

    A trial that is replaced has ended. Its heir is a trial of its own: it begins with the state of another trial.
    """

    def __init__(
        self,
        *,
        member: str,
        trials: int,
        steps: Sequence[Step],
        proposals: Proposals,
        scheduler: Scheduler,
        parameters: Sequence[Parameter],
        plan: Callable[[str, MemberParams], Sequence[FitTask]],
        score: Callable[[Mapping[int, FitEnd]], tuple[float, Mapping[int, float]]],
        seed: int,
    ) -> None:
        super().__init__(
            trials=trials,
            parallel=trials,
            steps=steps,
            proposals=proposals,
            scheduler=scheduler,
            plan=lambda name, params: [replace(task, kept=True) for task in plan(name, params)],
            score=score,
        )
        self._member, self._parameters, self._seed = member, parameters, seed

    def begin(self) -> Orders:
        orders = super().begin()
        self.ended = self.ended or f"the population has {len(self.trials)} trials"
        return orders

    def _advance(self) -> None:
        """End the step of all trials when the last one has ended it."""
        while self._due:
            trials = [self.trials[number] for _, number in sorted(self._due)]
            ends = [trial.reached(self._steps[trial.step]) for trial in trials]
            if any(each is None for each in ends):
                return
            self._clock = self._due[0][0]
            self._due.clear()
            reached = {
                trial: standing
                for trial, each in zip(trials, ends, strict=True)
                if each is not None and (standing := self._reach(trial, each)) is not None
            }
            self._go_on(reached)

    def _go_on(self, reached: Mapping[Trial, Standing]) -> None:
        ranked = sorted(reached, key=lambda trial: (reached[trial].loss, trial.number))
        number = min(math.ceil(len(ranked) * _QUANTILE), len(ranked) // 2)
        best, worst = ranked[:number], ranked[len(ranked) - number :]
        for trial in sorted(reached, key=lambda trial: trial.number):
            heir = self._heir(best) if trial in worst else None
            if heir is None:
                self._step(trial)
            else:
                self._end(trial, "stopped")
                self._step(heir)

    def _heir(self, best: Sequence[Trial]) -> Trial | None:
        """A trial that goes on from one of the best; None if no changed point is new."""
        drawn = random.Random(f"{self._seed} {len(self.trials)}")  # noqa: S311
        donor = drawn.choice(best)
        for candidate in self._changed(donor, drawn):
            assert candidate.params is not None
            try:
                fits = self._plan(candidate.name, candidate.params)
            except ValueError:
                continue
            origins = {task.fold: task.key for task in donor.tasks(self._steps[donor.step - 1])}
            heir = self._added(candidate, [])
            heir.fits = tuple(replace(task, origin=origins[task.fold]) for task in fits)
            heir.step, heir.standings = donor.step, list(donor.standings)
            return heir
        return None

    def _changed(self, donor: Trial, drawn: random.Random) -> Iterator[Candidate]:
        """Members that go on from a trial with other parameters, as far as they are new and valid."""
        own = donor.params
        assert own is not None
        until = self._steps[donor.step - 1].epochs(own)
        assert until is not None, "it is not the last step"
        for _ in range(_TRIES):
            point = _perturbed(own, self._parameters, drawn)
            try:
                params = configured(own, self._parameters, point)
                params = params.continuing(own, member=own.began_as or donor.name, until=until)
            except ValueError:
                continue
            name = trial_name(self._member, params)
            if not self._proposals.knows(name):
                yield Candidate(name, params, f"heir: {donor.name} after {until} epochs", point)


def _perturbed(params: MemberParams, parameters: Sequence[Parameter], drawn: random.Random) -> Point:
    """The values of a member, changed as far as they can change during training."""
    known, point = values_in(params, parameters), dict[str, object]()
    for one in parameters:
        if not one.applies(point):
            continue
        value = known.get(one.name)
        if one.name in known and not params.can_change(one.path):
            point[one.name] = value
        elif one.name not in known or drawn.random() < _RESAMPLED:
            point[one.name] = one.dimension.at(drawn.random())
        elif isinstance(one.dimension, Interval):
            point[one.name] = one.dimension.rounded(float(known[one.name]) * drawn.choice(_FACTORS))
        else:
            point[one.name] = value
    return point
