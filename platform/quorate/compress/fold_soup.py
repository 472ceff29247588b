"""Choose the networks whose weights are averaged, fold by fold; workers average and predict."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.compress.soup_candidates import SoupCandidate
from quorate.data.dataset import Dataset, Rows
from quorate.data.folds import Fold, FoldsError, learnable_rows
from quorate.data.splitting import latest_rows, whole_groups
from quorate.ensemble.crossfit import parts_of
from quorate.ensemble.metrics import nll
from quorate.ensemble.soup import GreedySoup, greedy_soup
from quorate.errors import UserError
from quorate.execution.events import Failed, Predicted
from quorate.job.fits import FitRunner, FitSession, raise_failure
from quorate.members.base import Proba
from quorate.plan.identity import derive_seed, digest, fold_digest, predict_key
from quorate.plan.procedures import by_procedure
from quorate.plan.tasks import FeatureTask, FitTask, PredictTask, Task
from quorate.results.results import Fit
from quorate.runs.finished import FinishedRun
from quorate.training.procedures import WeightAverage

NAME = "soup"
Watch = Callable[[int, int], None]
"""Called with the number of finished folds, and the number of folds."""


@dataclass(frozen=True, eq=False)
class FoldSoup:
    """The soup of one fold. All probabilities are for `rows`, the learnable validation rows of the fold. The soup was
    chosen on the half `choice` of these rows, and is estimated on the half `estimate`.
    """

    fold: int
    rows: Rows
    choice: NDArray[np.int64]
    estimate: NDArray[np.int64]
    found: GreedySoup
    files: Mapping[str, bytes]
    proba: Proba
    members: Sequence[Proba]
    test: Proba | None
    """Probabilities of the test rows; None without test rows."""


def choose_soups(
    run: FinishedRun,
    chosen: Sequence[SoupCandidate],
    runner: FitRunner,
    watch: Watch = lambda done, folds: None,
) -> list[FoldSoup]:
    """The soup of each fold of the candidates; raises `UserError` if a fold has too few rows.

    Each average is a task of its own. The folds are independent, and an interrupted soup continues with the averages
    that it has not tried.
    """
    test = run.context.test if run.test is not None else None
    folds, assets = list(run.context.folds.folds), dict[str, bytes]()
    choices: dict[int, _FoldChoice] = {}
    for number in sorted(chosen[0].folds):
        folds[number] = _scored_fold(run, number)
        networks = [_as_assets(one.folds[number]) for one in chosen]
        for network in networks:
            assets |= network
        choices[number] = _FoldChoice(run, number, folds[number], chosen[0].task, [tuple(files) for files in networks])
    own = replace(run.context.folds, folds=tuple(folds))
    data = replace(run.context, test=test, folds=own, assets=assets, backbones={})
    watch(0, len(choices))
    with runner.session(data, run.job.spec.execution) as session:
        session.submit(task for choice in choices.values() for task in choice.singles())
        for outcome in session.outcomes():
            if isinstance(outcome, Failed):
                raise_failure(outcome, f"the soup of {_fit_of(outcome.task).part}")
            if isinstance(outcome, Predicted):
                choices[outcome.task.fit.fold].test = outcome.proba
            if not isinstance(outcome, Fit):
                continue
            choice = choices[outcome.task.fold]
            session.submit(choice.on(outcome))
            if choice.found is not None:
                watch(sum(each.found is not None for each in choices.values()), len(choices))
                if test is not None:
                    session.submit([PredictTask(predict_key(choice.fit.task.result_key, test), choice.fit.task)])
        return [choice.soup(session) for choice in choices.values()]


class _FoldChoice:
    """The greedy choice in one fold: the averages that were tried, and the next one."""

    def __init__(
        self, run: FinishedRun, number: int, fold: Fold, like: FitTask, networks: Sequence[tuple[str, ...]]
    ) -> None:
        valid = run.context.train.take(fold.valid)
        self._number, self._fold, self._y, self._like, self._networks = number, fold, valid.y, like, networks
        self._seed = derive_seed(run.job.spec.seed, NAME, number)
        self._choice, self._estimate = _halves(valid, self._seed, number)
        self._singles = [(i,) for i in range(len(networks))]
        self._fits: dict[str, Fit] = {}
        """By the key of the task."""
        self._tried: tuple[int, ...] = ()
        self._greedy: Generator[tuple[int, ...], float, GreedySoup] | None = None
        self.found: GreedySoup | None = None
        self.test: Proba | None = None

    @property
    def fit(self) -> Fit:
        """The chosen average."""
        assert self.found is not None, "the choice has not ended"
        return self._fits[self._task(self.found.taken).key]

    def singles(self) -> list[FitTask]:
        """The tasks of the single networks, which come first; equal networks have one."""
        tasks = map(self._task, self._singles)
        return list({task.key: task for task in tasks}.values())

    def on(self, fit: Fit) -> list[FitTask]:
        """Take a result; returns the task of the next average, or nothing."""
        self._fits[fit.task.key] = fit
        try:
            if self._greedy is not None:
                self._tried = self._greedy.send(self._loss(self._tried))
            elif all(self._task(single).key in self._fits for single in self._singles):
                self._greedy = greedy_soup([self._loss(single) for single in self._singles])
                self._tried = next(self._greedy)
            else:
                return []
        except StopIteration as end:
            self.found = end.value
            return []
        return [self._task(self._tried)]

    def soup(self, session: FitSession) -> FoldSoup:
        """The finished soup."""
        assert self.found is not None, "the choice has not ended"
        return FoldSoup(
            fold=self._number,
            rows=self._fold.valid,
            choice=self._choice,
            estimate=self._estimate,
            found=self.found,
            files=session.files(self.fit),
            proba=self.fit.valid,
            members=[self._proba(single) for single in self._singles],
            test=self.test,
        )

    def _task(self, networks: tuple[int, ...]) -> FitTask:
        procedure = WeightAverage(tuple(self._networks[i] for i in networks))
        rows = fold_digest(self._fold)
        task = by_procedure(self._like, procedure, fold=self._number, label=NAME, seed=self._seed, rows=rows)
        return replace(task, seed=self._seed)

    def _proba(self, networks: tuple[int, ...]) -> Proba:
        return self._fits[self._task(networks).key].valid

    def _loss(self, networks: tuple[int, ...]) -> float:
        return nll(self._proba(networks)[self._choice], self._y[self._choice])


def _as_assets(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a network, by names that begin with the digest of its content."""
    whole = digest(files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    return {f"{whole}/{name}": files[name] for name in sorted(files)}


def _fit_of(task: Task) -> FitTask:
    assert not isinstance(task, FeatureTask), "a soup extracts no features"
    return task.fit if isinstance(task, PredictTask) else task


def _scored_fold(run: FinishedRun, number: int) -> Fold:
    """The fold with its learnable validation rows only."""
    data, fold = run.context.train, run.context.folds[number]
    rows = fold.valid[learnable_rows(data.y, [fold], weight=data.weight)[fold.valid]]
    if len(rows) < 2:
        raise UserError(
            f"only {len(rows)} of the {len(fold.valid)} validation rows of fold {number + 1} have a class that the "
            "training rows of the fold have, but a soup requires at least 2 such rows; change validation.folds or the "
            "seed of the job"
        )
    return Fold(fold.train, rows)


def _halves(valid: Dataset, seed: int, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the rows to choose on and of the rows to estimate on: split by class, in whole groups, or by
    time."""
    try:
        if valid.time is not None:
            halves: tuple[Any, Any] = latest_rows(valid.time, 0.5)
        elif valid.groups is not None:
            halves = whole_groups(valid.y, valid.groups, 0.5, np.random.RandomState(seed % 2**32))
        else:
            halves = next(parts_of(valid.y, splits=2, seed=seed))
    except (FoldsError, ValueError) as error:
        raise UserError(
            f"cannot split the {len(valid)} validation rows of fold {number + 1} into a half to choose the soup and a "
            f"half to estimate its loss: {error}"
        ) from None
    return halves
