"""Let the ensemble of a job grow until its budget is used: train additions, and keep those that lower the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from rich.console import Console

from quorate.execution.base import Executor
from quorate.execution.budget import Budget
from quorate.execution.estimates import Load, makespan
from quorate.job.additions import COPY, MIRRORED, Addition, Additions, with_additions
from quorate.job.budget import SAFETY, leave_out_beginnings
from quorate.job.composition import Composition, compose
from quorate.job.planning import plan_job
from quorate.job.progress import JobProgress, find_finished
from quorate.job.training import Trainer, WorkerShares
from quorate.plan.tasks import FitTask, Plan, Task, Unit
from quorate.report.budget import format_duration
from quorate.results.results import Fit
from quorate.runs.leaderboard import LeaderboardGrowth, TriedMember
from quorate.spec import Job
from quorate.spec.file import SpecError

PATIENCE = 6
"""Number of additions in a row that bring nothing, after which the job ends (an assumption). After two, jobs on small
tables had used a third of their budgets."""
_BUSY = 0.9
"""Additions are trained together until the workers are busy for this fraction of the time (an assumption)."""
_MOST_TOGETHER = 16
"""Largest number of additions that are trained together (an assumption)."""


class Growth:
    """The growth of one job; `check` raises an error if the job may not go on."""

    def __init__(
        self,
        trainer: Trainer,
        work: JobProgress,
        budget: Budget,
        opened: Callable[[], Executor],
        check: Callable[[], None],
        console: Console,
    ) -> None:
        self._trainer, self._work, self._budget = trainer, work, budget
        self._opened, self._check, self._console = opened, check, console
        self._tried: list[TriedMember] = []
        self._found: dict[str, Fit] = {}
        """Finished fits of additions that were in the store."""
        self._computed: set[str] = set()
        """The keys of the features that are in the store."""
        self._fruitless = 0
        """Number of additions since the last one that lowered the loss."""
        self._ended = ""

    def grow(self, made: Composition) -> tuple[Composition, LeaderboardGrowth]:
        """The composition with the additions that lower its loss, and what was tried until the growth ended."""
        before, self._ended = made.loss, self._obstacle(made)
        additions = Additions(made)
        while not self._ended:
            batch, full = self._batch(made, additions)
            if batch:
                self._train(full, made, batch)
                for addition in batch:
                    made = self._judge(addition, made, full, additions)
            if self._fruitless >= PATIENCE and not self._ended:
                self._ended = f"{PATIENCE} additions in a row brought nothing"
        self._say(f"nothing more is added: {self._ended}")
        return made, LeaderboardGrowth(loss=before, tried=tuple(self._tried), ended=self._ended)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _obstacle(self, made: Composition) -> str:
        """Why the job cannot grow at all; empty if it can."""
        unfinished = made.there.short or self._work.late or not all(fit.complete for fit in self._work.fits.values())
        return "there was no time for all of the job's own members" if unfinished else ""

    def _batch(self, made: Composition, additions: Additions) -> tuple[list[Addition], Plan]:
        """The next additions and the plan with them; if there are none, the growth has ended.

        They are as many as keep the workers busy, and those that do not fit into the remaining time are left out.
        """
        number, chosen = self._number(made.plan), list[Addition]()
        plan, features, fits, late = made.plan, dict[str, Load](), dict[str, Load](), dict[str, float]()
        for addition in additions.proposals(made):
            try:
                full = self._planned(with_additions(made.job, [*chosen, addition]), made)
            except SpecError as error:  # these data are not for this member
                additions.take(addition)
                self._reject(addition, f"it cannot be planned: {error}")
                continue
            more_features, more_fits = self._loads(_part(full, _labels_of(addition, full)))
            with_features, with_fits = features | more_features, fits | more_fits
            # fits wait for their features
            seconds = sum(makespan([], sorted(part.values(), reverse=True)) for part in (with_features, with_fits))
            seconds += (len(chosen) + 1) * made.ensemble.seconds
            if seconds <= self._budget.training_left():
                chosen, plan, features, fits = [*chosen, addition], full, with_features, with_fits
                additions.take(addition)
            elif not chosen:
                late[addition.label] = seconds
            if len(chosen) == number:
                break
        if not chosen:
            self._ended = self._why_none(late)
        return chosen, plan

    def _why_none(self, late: Mapping[str, float]) -> str:
        """Why there is no further addition; `late` are the seconds of those that do not fit into the remaining time."""
        if not late:
            return "there was nothing left to add"
        quickest, left = min(late, key=late.__getitem__), max(math.floor(self._budget.training_left()), 0)
        takes = f"{quickest} takes about {format_duration(math.ceil(late[quickest]))}"
        return f"the time was up: {takes}, and {format_duration(left)} were left for training"

    def _number(self, plan: Plan) -> int:
        """Number of additions that keep the workers busy."""
        executor, fits = self._opened(), len(plan.context.folds)
        most = self._trainer.job.spec.execution.workers or math.inf
        slots = (executor.slots(resources) for resources in {task.resources for task in plan.runs})
        workers = int(max(1, min(most, *slots)))
        for number in range(1, _MOST_TOGETHER):
            if number * fits >= _BUSY * workers * math.ceil(number * fits / workers):
                return number
        return _MOST_TOGETHER

    def _planned(self, job: Job, made: Composition) -> Plan:
        return self._work.corrected(plan_job(job, made.plan.context, self._trainer.place))

    def _loads(self, new: Plan) -> tuple[dict[str, Load], dict[str, Load]]:
        """The estimated seconds of the tasks that are not in the store, and their shares of all workers, by their
        keys: the tasks that compute the features of frozen networks, and the fits."""
        results, call = self._trainer.results, self._trainer.outages.call
        self._found |= call(partial(find_finished, new, results))
        fits = [task for task in new.runs if any(part.key not in self._found for part in task.all)]
        frozen = {backbone for task in fits for backbone in task.params.frozen_backbones}
        features = [task for task in new.features if task.backbone in frozen and task.key not in self._computed]
        self._computed |= {task.key for task in features if call(partial(results.has_features, task))}
        uncomputed = [task for task in features if task.key not in self._computed]
        most = self._trainer.job.spec.execution.workers
        missing: list[Task] = [*uncomputed, *fits]
        shares = WorkerShares([Unit((task,)) for task in missing], self._opened(), most)

        def loads(tasks: Sequence[Task]) -> dict[str, Load]:
            return {task.key: (self._work.estimates.seconds(task), shares(task)) for task in tasks}

        return loads(uncomputed), loads(fits)

    def _train(self, full: Plan, made: Composition, batch: Sequence[Addition]) -> None:
        """Train the additions, as far as there is time."""
        left = format_duration(max(self._budget.training_left(), 0))
        names = ", ".join(f"{one.label} ({one.params.kind}, {_said(one)})" for one in batch)
        self._say(f"{left} are left for training: trying {names}")
        found = {task.key: self._found[task.key] for task in full.tasks if task.key in self._found}
        self._work.fits |= found
        self._trainer.tracker.add(full)
        self._trainer.tracker.reused(found.values())
        with _reserved(self._budget, SAFETY * len(batch) * made.ensemble.seconds):
            self._trainer.complete(full, self._work, self._budget, self._opened)
        self._check()
        leave_out_beginnings(full, self._work)

    def _judge(self, addition: Addition, made: Composition, full: Plan, additions: Additions) -> Composition:
        """The composition with the addition if that lowers the loss, else the composition as it was."""
        labels = _labels_of(addition, full)
        tasks = _part(full, labels).tasks
        if problem := self._problem(tasks, made):
            self._forget(tasks)
            self._reject(addition, problem)
            return made
        plan = _part(full, {*made.plan.labels, *labels})
        other = compose(with_additions(made.job, [addition]), plan, self._work, self._opened, self._budget)
        better = other.loss < made.loss
        if better:
            self._fruitless = 0
        else:
            self._fruitless += 1
            additions.is_useless(addition)
            self._forget(tasks)
        verdict = "added" if better else "brings nothing"
        self._say(f"{addition.label} {verdict}: cross-fitted loss {made.loss:.4f} -> {other.loss:.4f}")
        found = round(other.loss, 6)
        self._tried.append(TriedMember(name=addition.label, source=addition.source, loss=found, added=better))
        return other if better else made

    def _problem(self, tasks: Sequence[FitTask], made: Composition) -> str:
        """Why an addition is not complete; empty if it is."""
        for task in tasks:
            if (failure := self._work.failures.get(task.key)) is not None:
                self._fruitless += 1
                return f"{failure.status}: {failure.message}"
        tested = made.plan.context.test is None or not made.gathered.tested.all()
        tested = tested or all(task.key in self._work.tests for task in tasks)
        missing = any(task.key not in self._work.fits for task in tasks)
        if missing or not tested or self._budget.training_left() < made.ensemble.seconds:
            self._ended = "the time was up"
            return "there was no time " + ("for it" if missing or tested else "for its test predictions")
        return ""

    def _reject(self, addition: Addition, problem: str) -> None:
        """Note that an addition has no loss."""
        self._say(f"{addition.label} is not added: {problem}")
        tried = TriedMember(name=addition.label, source=addition.source, loss=None, added=False, note=problem)
        self._tried.append(tried)

    def _forget(self, tasks: Sequence[FitTask]) -> None:
        """Remove what the job knows of tasks that its plan does not have; finished ones stay in the store."""
        for task in tasks:
            for known in (self._work.fits, self._work.tests, self._work.failures, self._work.late):
                known.pop(task.key, None)
        self._trainer.tracker.not_added({task.label for task in tasks})


def _labels_of(addition: Addition, plan: Plan) -> Collection[str]:
    """The labels of an addition and of its views."""
    copy = addition.params.copies - 1
    return {task.label for task in plan.tasks if task.member == addition.member and task.copy == copy}


def _part(plan: Plan, labels: Collection[str]) -> Plan:
    """The plan of these members."""
    return replace(plan, tasks=tuple(task for task in plan.tasks if task.label in labels))


def _said(addition: Addition) -> str:
    return {COPY: "a further copy", MIRRORED: MIRRORED}.get(addition.source, "from the portfolio")


@contextmanager
def _reserved(budget: Budget, seconds: float) -> Iterator[None]:
    """Keep this time for the work after training."""
    budget.reserve += seconds
    try:
        yield
    finally:
        budget.reserve -= seconds
