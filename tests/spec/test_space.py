"""Search spaces: what a job file may write, which members they make, and which mistakes are refused."""

from __future__ import annotations

import importlib.util
import random

import pytest
from ray.tune.search import SEARCH_ALG_IMPORT

from quorate.ensemble.objectives import Objective
from quorate.registry import MEMBERS
from quorate.spec import load_job, record_of, spec_of_run
from quorate.spec.configuration import configured, space_of
from quorate.spec.file import SpecError
from quorate.spec.search import Method, SearchMetric, SearchSpec
from quorate.spec.space import (
    Choice,
    Interval,
    parameters_of,
    points_of,
    values_per_interval,
)
from quorate.spec.space_forms import parse_dimension, parse_space

NET = "data: digits\nmembers:\n  m:\n    kind: net\n    arch: small_cnn\n    search:\n      {}"
REQUIRED = {"net": {"arch": "small_cnn"}}


def job_with(tmp_path, search: str, head: str = NET):
    path = tmp_path / "job.yaml"
    path.write_text(head.replace("{}", search))
    return load_job(path)


def member(**params):
    kind = params.pop("kind", "net")
    return MEMBERS.get(kind).Params.model_validate({"kind": kind, **REQUIRED.get(kind, {}), **params})


WRONG = {
    "low above high": (
        "space: {lr: 'uniform(0.5, 0.1)'}",
        "members.m.search.space.lr: uniform(0.5, 0.1): the lowest number is above the highest; write uniform(0.1, 0.5)",
    ),
    "log of 0": (
        "space: {lr: 'log_uniform(0, 1)'}",
        "members.m.search.space.lr: log_uniform(0, 1): only positive numbers have a logarithm; raise the lowest number",
    ),
    "unknown parameter": ("space: {lrr: 'uniform(0.1, 0.5)'}", "space.lrr: unknown key 'lrr'; did you mean 'lr'?"),
    "unknown parameter of a kind": (
        "space: {schedule: {constant: , step: {evry: 'int(2, 9)'}}}",
        "space.schedule.step.evry: unknown key 'evry'; did you mean 'every'?",
    ),
    "unknown kind": (
        "space: {schedule: {constant: , stp: }}",
        "space.schedule: at stp: unknown schedule 'stp'; did you mean 'step'?",
    ),
    "unknown distribution": ("space: {lr: 'loguniform(1, 2)'}", "did you mean 'log_uniform'? (choose from uniform,"),
    "parenthesis": ("space: {arch.width: 'int(1, 2'}", "int(1, 2: the closing parenthesis is missing"),
    "another search": ("space: {search.trials: [1, 2]}", "search does not change what is trained; remove it from the"),
    "two names": (
        "space: {lr: [0.1, 0.2], learning_rate: [0.3, 0.4]}",
        "members.m.search.space.learning_rate: it is the same parameter as lr; keep one of them",
    ),
    "two places": ("space: {arch.width: [8, 9], arch: {width: [4, 5]}}", "arch.width is in the space twice; keep one"),
    "equal numbers": ("space: {batch_size: [32, 32.0]}", "[32, 32.0] contains 32.0 twice; keep one of them"),
    "empty": ("space: {schedule: {}}", "members.m.search.space.schedule: the mapping is empty; name kinds, or"),
    "one number": ("space: {lr: uniform(1)}", "uniform(1) needs two numbers, the lowest and the highest"),
    "fractions": ("space: {epochs: 'int(1.5, 4)'}", "both ends must be whole numbers; write uniform for others"),
    "nothing to search": (
        "space: {lr: 'uniform(1, 1)'}",
        "both ends are equal, so there is nothing to search; write 1",
    ),
    "one value": ("space: {lr: 0.1}", "members.m.search.space: every parameter has one value only"),
    "twice": (
        "space: {batch_size: [32, 64, 32]}",
        "space.batch_size: [32, 64, 32] contains 32 twice; keep one of them",
    ),
    "out of range": (
        "space: {lr: 'log_uniform(0.1, 1000)'}",
        "space.lr: at 1000.0: should be less than or equal to 100, but is 1000.0",
    ),
    "a place": ("space: {cpus: [1, 2], lr: [1, 2]}", "space.cpus: cpus does not change what is trained; remove it"),
    "no valid member": (
        "space: {mc_dropout: 'int(1, 9)'}",
        "none of 64 random points makes a valid member: mc_dropout requires dropout, but dropout is 0",
    ),
    "a large grid": (
        "{method: grid, space: {lr: 'uniform(0.1, 1)', epochs: 'int(1, 1000)', batch_size: 'int(2, 1001)'}, trials: 7}",
        "members.m.search.trials: the grid of this space has at least 8 points, which is more than the 7 trials; raise",
    ),
    "no such metric": (
        "metric: acuracy",
        "members.m.search.metric: 'acuracy' is not one of 'nll', 'brier', 'accuracy'",
    ),
    "no such method": ("method: tp", "members.m.search.method: 'tp' is not one of 'random', 'grid', 'sobol', 'tpe'"),
    "wilcoxon": ("{scheduler: wilcoxon, over: epochs}", "scheduler: wilcoxon compares folds, not over: epochs; write"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_in_a_search_is_refused_with_its_place_and_the_fix(tmp_path, name):
    search, message = WRONG[name]

    with pytest.raises(SpecError) as caught:
        job_with(tmp_path, search)

    assert message in str(caught.value)
    line = 6 if name == "wilcoxon" else 7
    assert str(caught.value).startswith(f"{tmp_path}/job.yaml:{line}: ")


def test_members_with_copies_that_vary_and_kinds_without_a_space_cannot_be_searched_alone(tmp_path):
    sklearn = "data: digits\nmembers:\n  m: {kind: sklearn, estimator: sklearn.svm.LinearSVC, search: {}}"
    with pytest.raises(SpecError, match="sklearn has no search space of its own; name its parameters in space"):
        job_with(tmp_path, "{trials: 3}", sklearn)
    varied = "data: digits\nmembers:\n  m: {kind: svm, copies: 2, vary: {C: [1, 2]}, search: {}}"
    with pytest.raises(SpecError, match=r"members.m.vary: vary and search both set parameters of the copies"):
        job_with(tmp_path, "{trials: 3}", varied)


OWN = [name for name in MEMBERS.names() if MEMBERS.get(name).__module__.startswith("quorate.")]
"""Tests of other modules register further kinds."""


@pytest.mark.parametrize("kind", [name for name in OWN if name != "sklearn"])
def test_every_kind_has_a_space_of_its_own_whose_points_are_valid_members(kind):
    if kind == "xgboost" and importlib.util.find_spec("xgboost") is None:
        pytest.skip("xgboost is not installed")
    base = member(kind=kind, search={"trials": 3})
    parameters, generator = parameters_of(space_of(base)), random.Random(1)

    for _ in range(20):
        point = {}
        for one in parameters:
            if one.applies(point):
                point[one.name] = one.dimension.at(generator.random())
        made = configured(base, parameters, point)

        assert made.kind == kind
        assert made.search is None


def test_the_space_of_a_network_follows_its_learning_rate_and_its_snapshots():
    assert space_of(member(lr=0.001, search={}))["lr"] == Interval(0.0001, 0.01, log=True)
    assert "schedule" not in space_of(member(snapshots=3, epochs=9, search={}))


def test_values_of_a_point_are_nested_conditional_and_keep_what_is_written():
    base = member(
        optimizer={"kind": "adamw", "eps": 1e-7}, schedule={"kind": "cosine", "end": 0.1}, copies=3, gpus=0, search={}
    )
    space = parse_space(
        {
            "learning_rate": "log_uniform(1e-4, 1e-1)",
            "arch.width": "log_int(8, 64)",
            "optimizer": {"eps": [1e-8, 1e-6]},
            "schedule": {"cosine": None, "step": {"every": "int(2, 9)"}},
        }
    )
    parameters = parameters_of(space)
    assert [one.name for one in parameters] == [
        "learning_rate",
        "arch.width",
        "optimizer.eps",
        "schedule",
        "schedule[step].every",
    ]

    point = {"learning_rate": 0.02, "arch.width": 9, "optimizer.eps": 1e-6, "schedule": "cosine"}
    made = configured(base, parameters, point)
    assert (made.lr, made.arch.width, made.optimizer.kind, made.optimizer.eps) == (0.02, 9, "adamw", 1e-6)
    assert (made.schedule.kind, made.schedule.end, made.copies, made.gpus) == ("cosine", 0.1, 1, 0)

    other = configured(base, parameters, {**point, "schedule": "step", "schedule[step].every": 4})
    assert other.schedule.model_dump(include={"kind", "every"}) == {"kind": "step", "every": 4}


def test_a_search_can_choose_the_kind_of_the_member(tmp_path):
    job = job_with(
        tmp_path,
        "space: {kind: {svm: {C: 'log_uniform(1, 100)'}, random_forest: , net: {arch: {small_cnn: , mlp: }}}}",
    )
    base = job.spec.members["m"]
    parameters = parameters_of(space_of(base))

    assert configured(base, parameters, {"kind": "svm", "kind[svm].C": 3.0}).C == 3.0
    forest = {"kind": "random_forest", "kind[random_forest].min_samples_leaf": 4}
    assert configured(base, parameters, forest).min_samples_leaf == 4, "a kind without parameters has its own space"
    assert configured(base, parameters, {"kind": "net", "kind[net].arch": "mlp"}).arch.kind == "mlp"


def test_intervals_are_searched_in_their_scale_and_rounded_within_their_ends():
    assert parse_dimension("log_uniform(1e-4, 1)").at(0.5) == 0.01
    assert parse_dimension("log_int(1, 100)").at(0.5) == 10
    assert parse_dimension("uniform(0, 1)").rounded(0.123456) == 0.1235
    assert parse_dimension("uniform(0.12344, 2)").rounded(0.12344) == 0.12344, "0.1234 would be outside"
    assert parse_dimension("choice(a, 1, true, null)") == Choice(("a", 1, True, None))
    assert parse_dimension("int(2, 5)").grid(9) == (2, 3, 4, 5)


def test_a_grid_has_every_combination_of_the_parameters_that_apply():
    space = parse_space({"a": [1, 2], "b": {"x": None, "y": {"c": "int(1, 3)"}}})

    points = list(points_of(parameters_of(space), 3))

    assert len(points) == 8
    assert points[0] == {"a": 1, "b": "x"}
    assert points[-1] == {"a": 2, "b": "y", "b[y].c": 3}


def test_names_of_metrics_and_methods_are_those_of_the_combiners_and_of_ray_tune():
    assert SearchMetric.__args__ == Objective.__args__  # type: ignore[attr-defined]
    tunes = set(SEARCH_ALG_IMPORT) - {"variant_generator", "random", "optuna"}
    assert set(Method.__args__) == {"random", "grid", "sobol", "tpe", "gp"} | tunes  # type: ignore[attr-defined]


def test_a_job_with_a_search_is_recorded_and_read_again(tmp_path):
    job = job_with(tmp_path, "{trials: 3, space: {schedule: {constant: , step: {every: 'int(2, 9)'}}, lr: [1, 2]}}")

    (tmp_path / "job.json").write_bytes(record_of(job.spec))

    assert spec_of_run(tmp_path / "job.json").members["m"].search == job.spec.members["m"].search
    assert SearchSpec().trials == 32


def test_a_grid_with_many_trials_is_sized_at_once_and_is_not_larger_than_the_trials():
    space = parse_space({"lr": "log_uniform(1e-4, 1)", "dropout": "uniform(0, 0.5)"})

    assert values_per_interval(space, 100_000) == 316
    assert values_per_interval(space, 4) == 2 and values_per_interval(space, 3) is None
    alone = values_per_interval(parse_space({"lr": "log_uniform(1e-4, 1)"}), 5_000)
    assert alone is not None and alone >= 5_000


def test_numbers_of_a_narrow_interval_have_enough_digits():
    narrow, wide = parse_dimension("uniform(0.999, 0.9999)"), parse_dimension("uniform(0, 1)")

    assert len({narrow.at(part / 100) for part in range(101)}) == 101
    assert wide.at(1 / 3) == 0.3333
