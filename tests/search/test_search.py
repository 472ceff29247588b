"""The search: which trials it makes, in which order, and when they end; without any training."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from quorate.errors import UserError
from quorate.plan.tasks import FitTask
from quorate.registry import MEMBERS
from quorate.search.ladder import Step, steps_of
from quorate.search.proposals import Candidate, Proposals
from quorate.search.schedulers import open_scheduler
from quorate.search.search import Search
from quorate.search.searchers import open_suggester
from quorate.search.trial import FitEnd, trial_name
from quorate.spec.configuration import configured
from quorate.spec.search import SearchSpec
from quorate.spec.space import parameters_of
from quorate.spec.space_forms import parse_space
from quorate.training.context import Numerics

BASE = MEMBERS.get("net").Params.model_validate({"kind": "net", "arch": "mlp", "epochs": 9})
SPACE = parse_space({"lr": "log_uniform(1e-4, 1)", "schedule": {"constant": None, "step": {"every": "int(2, 8)"}}})
FOLDS = 5


def a_search(*, first: list[Candidate] | None = None, plan=None, space=SPACE, seed: int = 3, **spec: Any) -> Search:
    asked = SearchSpec(**{"trials": 20, "parallel": 3, **spec})
    steps = steps_of(asked, BASE, FOLDS)

    def candidate(point: Mapping[str, Any]) -> Candidate:
        params = configured(BASE, parameters_of(space), point)
        return Candidate(trial_name("m", params), params, asked.method, point)

    def fits(name: str, params: Any) -> list[FitTask]:
        numerics = Numerics(threads=1)
        return [FitTask(f"{name}/{fold}", name, 0, fold, name, params, 0, numerics, 1.0) for fold in range(FOLDS)]

    def score(ends: Mapping[int, FitEnd]) -> tuple[float, Mapping[int, float]]:
        losses = {fold: float(end.valid[0, 0]) for fold, end in ends.items() if end.valid is not None}
        return float(np.mean(list(losses.values()))), losses

    known = [one.point for one in first or [] if one.point is not None]
    return Search(
        trials=asked.trials,
        parallel=asked.parallel,
        steps=steps,
        proposals=Proposals(first or [], open_suggester(asked, space, first=known, seed=seed), candidate),
        scheduler=open_scheduler(asked, len(steps), seed=seed),
        plan=plan or fits,
        score=score,
    )


def end_of(task: FitTask) -> FitEnd:
    """A fit whose loss depends on its parameters, its fold and its epochs, and on nothing else."""
    epochs = task.until or task.params.epochs
    noise = 0.02 * random.Random(task.key.partition("/")[0]).random() + 0.01 * task.fold
    loss = abs(math.log10(task.params.lr) + 2) + 1 / epochs + noise
    return FitEnd(np.array([[loss]], np.float32), epochs)


def run(search: Search, *, order: random.Random | None = None, slots: int = 100, most: int | None = None) -> Search:
    """Train in any order, with `slots` tasks at work, at most this number of tasks."""
    orders, waiting, trained = search.begin(), list[FitTask](), 0
    waiting += orders.submit
    while waiting and trained != most:
        index = order.randrange(min(slots, len(waiting))) if order is not None else 0
        task = waiting.pop(index)
        orders = search.on(task.key, end_of(task))
        trained += 1
        waiting += orders.submit
    return search


def told(search: Search) -> list[tuple[str, str, int, float | None]]:
    return [(trial.name, trial.state, trial.step, trial.loss) for trial in search.trials]


@pytest.mark.parametrize("method", ["random", "sobol", "tpe", "gp"])
@pytest.mark.parametrize("scheduler", ["none", "asha"])
def test_the_order_in_which_fits_end_changes_nothing(method, scheduler):
    spec = {"method": method, "scheduler": scheduler, "trials": 14}
    usual = run(a_search(**spec))

    for seed in range(3):
        assert told(run(a_search(**spec), order=random.Random(seed), slots=seed + 1)) == told(usual)

    assert len(usual.trials) == 14
    assert all(trial.state != "running" for trial in usual.trials)


def test_a_search_that_starts_again_repeats_its_trials_and_goes_on():
    whole = run(a_search(scheduler="asha"))

    cut = run(a_search(scheduler="asha"), order=random.Random(1), slots=4, most=23)

    assert told(run(a_search(scheduler="asha"))) == told(whole)
    for trial, other in zip(cut.trials, whole.trials, strict=False):
        assert trial.name == other.name


def test_a_method_that_learns_finds_better_values_than_chance():
    best = [run(a_search(method=method, trials=40, parallel=1)).best for method in ("random", "tpe")]

    assert best[1].loss < best[0].loss


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median", "wilcoxon"])
def test_bad_trials_end_after_a_part_of_their_folds(scheduler):
    search = run(a_search(method="random", trials=40, scheduler=scheduler, over="folds"))

    stopped = [trial for trial in search.trials if trial.state == "stopped"]
    assert len(stopped) >= 5
    assert all(len(trial.ends) < FOLDS for trial in stopped)
    losses = {trial.name: sum(end_of(task).valid.item() for task in trial.fits) / FOLDS for trial in search.trials}
    assert losses[search.best.name] == pytest.approx(min(losses.values()), abs=0.05), "a good one has survived"
    assert np.mean([losses[trial.name] for trial in stopped]) > np.mean(list(losses.values()))


def test_bad_trials_end_after_some_epochs_of_the_first_fold():
    search = run(a_search(method="random", trials=20, scheduler="asha", over="both"))

    assert [(step.folds, step.epochs(BASE)) for step in search._steps] == [
        (1, 1),
        (1, 3),
        (1, None),
        (2, None),
        (5, None),
    ]
    first = [trial for trial in search.trials if trial.state == "stopped" and trial.step == 1]
    assert len(first) >= 5
    assert all(len(trial.ends) == 1 for trial in first)
    assert "complete" in {trial.state for trial in search.trials}


def test_under_a_budget_tasks_have_the_order_of_their_trials():
    search = a_search(trials=3)

    tasks = search.begin().submit

    assert [search.number_of(task.key) for task in tasks] == [0] * 5 + [1] * 5 + [2] * 5
    assert search.number_of("features") == -1


def test_a_grid_is_tried_completely_and_then_the_search_ends():
    space = parse_space({"lr": [0.1, 0.01], "epochs": "int(1, 3)"})

    search = run(a_search(method="grid", space=space, trials=6, scheduler="none"))

    assert {(trial.params.lr, trial.params.epochs) for trial in search.trials} == {
        (lr, epochs) for lr in (0.1, 0.01) for epochs in (1, 2, 3)
    }


def test_a_space_with_few_points_ends_the_search_and_no_member_is_trained_twice():
    space = parse_space({"lr": [0.1, 0.01], "epochs": [1, 2]})

    search = run(a_search(method="tpe", space=space, trials=20))

    assert len({trial.name for trial in search.trials}) == len(search.trials) == 4
    assert search.ended == "the last 100 suggestions were known already"


def test_first_trials_precede_the_suggestions_and_the_method_learns_from_those_in_the_space():
    inside = {"lr": 0.01, "schedule": "constant"}
    params = configured(BASE, parameters_of(SPACE), inside)
    outside = BASE.model_copy(update={"dropout": 0.3})

    search = run(
        a_search(first=[Candidate("m", outside, "written", None), Candidate("p", params, "mlp_wide", inside)], trials=9)
    )

    assert [trial.source for trial in search.trials] == ["written", "mlp_wide", *["tpe"] * 7]
    assert search.trials[0].suggestions == [] and search.trials[1].suggestions == [0]


def test_the_method_learns_from_a_first_trial_whose_numbers_have_many_digits():
    written = {"lr": 0.0123456789, "schedule": "constant"}
    params = configured(BASE, parameters_of(SPACE), written)

    search = run(a_search(first=[Candidate("m", params, "written", written)], trials=6))

    assert search.trials[0].suggestions == [0]
    assert all(abs(trial.params.lr - 0.0123456789) > 1e-5 for trial in search.trials[1:]), "it is not tried again"


def test_a_trial_that_fails_ends_its_other_folds_and_the_search_goes_on():
    search = a_search(trials=3, parallel=1)
    (first, *others) = search.begin().submit

    orders = search.on(first.key, FitEnd(None, problem="diverged: the loss is not finite"))

    assert search.trials[0].state == "failed"
    assert search.trials[0].problem == "diverged: the loss is not finite"
    assert [task.key for task in orders.cancel] == [task.key for task in others]
    assert {task.member for task in orders.submit} == {search.trials[1].name}
    assert search.on(others[0].key, end_of(others[0])).submit == [], "late ends are of no interest"


def test_a_space_without_a_member_for_these_data_is_refused_with_the_reason():
    def plan(name: str, params: Any) -> list[FitTask]:
        raise ValueError("arch mlp does not accept these rows")

    with pytest.raises(UserError, match=r"none of the first 20 members can be trained on these data, for ex"):
        a_search(plan=plan, trials=50).begin()


def test_places_of_comparisons_need_folds_or_epochs():
    svm = MEMBERS.get("svm").Params.model_validate({"kind": "svm"})

    with pytest.raises(
        ValueError, match="over: epochs needs a member with epochs, but svm has none; write over: folds"
    ):
        steps_of(SearchSpec(scheduler="asha", over="epochs"), svm, 5)
    with pytest.raises(ValueError, match="over: folds needs several folds, but the job has one; write over: epochs"):
        steps_of(SearchSpec(scheduler="asha", over="folds"), BASE, 1)
    with pytest.raises(ValueError, match="one fold and svm has no epochs; write scheduler: none"):
        steps_of(SearchSpec(scheduler="asha"), svm, 1)
    assert steps_of(SearchSpec(scheduler="asha"), svm, 10) == (Step(1), Step(3), Step(10))
