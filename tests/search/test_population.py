"""Population based training, without any training."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from tests.search.test_search import BASE, SPACE, end_of, run, told

from quorate.plan.tasks import FitTask
from quorate.registry import MEMBERS
from quorate.search.first_trials import candidate_of
from quorate.search.ladder import steps_of
from quorate.search.population import Population
from quorate.search.proposals import Proposals
from quorate.search.schedulers import open_scheduler
from quorate.search.searchers import open_suggester
from quorate.search.trial import FitEnd
from quorate.spec.search import SearchSpec
from quorate.spec.space import parameters_of
from quorate.training.context import Numerics


def a_population(*, trials: int = 8, every: int | None = 3, seed: int = 0) -> Population:
    spec = SearchSpec(trials=trials, scheduler="pbt", every=every)
    steps, parameters = steps_of(spec, BASE, 2), parameters_of(SPACE)

    def fits(name: str, params: Any) -> list[FitTask]:
        numerics = Numerics(threads=1)
        return [FitTask(f"{name}/{fold}", name, 0, fold, name, params, 0, numerics, 1.0) for fold in range(2)]

    def score(ends: Mapping[int, FitEnd]) -> tuple[float, Mapping[int, float]]:
        losses = {fold: float(end.valid[0, 0]) for fold, end in ends.items() if end.valid is not None}
        return float(np.mean(list(losses.values()))), losses

    suggester = open_suggester(spec, SPACE, first=[], seed=seed)
    return Population(
        member="m",
        trials=trials,
        steps=steps,
        proposals=Proposals([], suggester, lambda point: candidate_of("m", BASE, parameters, "tpe", point)),
        scheduler=open_scheduler(spec, len(steps), seed=seed),
        parameters=parameters,
        plan=fits,
        score=score,
        seed=seed,
    )


def test_after_each_step_a_quarter_is_replaced_by_heirs_of_the_best() -> None:
    search = run(a_population())

    assert [(step.folds, step.epochs(BASE)) for step in search._steps] == [(2, 3), (2, 6), (2, None)]
    heirs = [trial for trial in search.trials if trial.source.startswith("heir: ")]
    assert len(heirs) == 4 and len(search.trials) == 12
    assert [trial.state for trial in search.trials].count("stopped") == 4
    assert [trial.state for trial in search.trials].count("complete") == 8
    named = {trial.name: trial for trial in search.trials}
    for heir in heirs:
        donor, _, epochs = heir.source.removeprefix("heir: ").partition(" after ")
        step = {"3 epochs": 1, "6 epochs": 2}[epochs]
        assert heir.standings[:step] == named[donor].standings[:step]
        assert heir.params is not None and heir.params.earlier.epochs[-1].until == 3 * step
        assert [task.origin for task in heir.fits] == [task.key for task in named[donor].tasks(search._steps[step - 1])]
        assert heir.params.began_as in {trial.name for trial in search.trials[:8]}


def test_the_order_in_which_fits_end_changes_nothing() -> None:
    usual = run(a_population())

    for seed in range(3):
        assert told(run(a_population(), order=random.Random(seed), slots=seed + 2)) == told(usual)


def test_the_worst_trials_are_those_that_are_replaced() -> None:
    search = run(a_population(trials=12))

    stopped = [trial.loss for trial in search.trials if trial.state == "stopped" and trial.step == 1]
    others = [trial.standings[0].loss for trial in search.trials[:12] if trial.state != "stopped" or trial.step > 1]
    assert len(stopped) == 3 and min(stopped) > max(others)


def test_a_trial_that_fails_has_no_heir() -> None:
    search = a_population(trials=4)
    tasks = search.begin().submit
    failing = search.trials[0].name

    for task in tasks:
        if task.key not in search._of or search._of[task.key].state != "running":
            continue
        problem = FitEnd(None, problem="diverged: the loss is not finite")
        orders = search.on(task.key, problem if task.member == failing else end_of(task))

    assert search.trials[0].state == "failed"
    assert len(orders.submit) == 6, "three trials with two folds go on"
    assert search.ended == "the population has 4 trials"


MISTAKES = {
    "folds": ({"over": "folds"}, {}, "scheduler: pbt compares after epochs, not over: folds; remove over"),
    "grid": (
        {"method": "grid"},
        {},
        "scheduler: pbt changes values, which a grid does not have; choose another method",
    ),
    "kinds": ({"space": {"kind": ["net", "svm"]}}, {}, "scheduler: pbt trains networks that are alike; remove kind"),
    "no scheduler": ({"scheduler": "asha", "every": 2}, {}, "every is for scheduler: pbt, not asha; remove it"),
    "svm": ({}, {"kind": "svm"}, "scheduler: pbt needs a network, but the member is svm; choose asha"),
    "one epoch": ({}, {"epochs": 1}, "scheduler: pbt needs several epochs, but there is one; raise epochs"),
    "stopping": (
        {},
        {"early_stopping": 2},
        "scheduler: pbt writes earlier: early_stopping does not work with earlier; remove one",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_population_that_is_not_possible_is_refused(name: str) -> None:
    search, member, message = MISTAKES[name]
    given = {"kind": "net", "arch": "mlp", "epochs": 9, **member} if member.get("kind") != "svm" else member
    base = MEMBERS.get(given["kind"]).Params.model_validate(given)

    with pytest.raises(ValueError, match=message):
        steps_of(SearchSpec.model_validate({"scheduler": "pbt", **search}), base, 2)
