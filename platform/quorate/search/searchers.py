"""Suggest points of a search space: Optuna's samplers and other searchers, through Ray Tune's interface."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import optuna
from ray import tune
from ray.tune.result import TRAINING_ITERATION
from ray.tune.search import Searcher, create_searcher
from ray.tune.search.optuna import OptunaSearch

from quorate.errors import UserError
from quorate.search.base import Suggester
from quorate.spec.search import SearchSpec, parameters_in
from quorate.spec.space import (
    Choice,
    Interval,
    Parameter,
    Point,
    Space,
    parameters_of,
    points_of,
    values_per_interval,
)

_LOSS = "loss"
_MOST_RANDOM = 10
"""Largest number of random trials before `tpe` and `gp` use the results: Optuna's default for both."""
_RANDOM_SHARE = 4
"""With few trials, one in this number is random (an assumption)."""


def open_suggester(spec: SearchSpec, space: Space, *, first: Sequence[Point], seed: int) -> Suggester:
    """The method of a search.

    It first suggests the points `first`, if the method can learn from points that are not its own. Raises `UserError`
    if the package of a searcher is not installed.
    """
    if spec.method == "grid":
        return _Grid(spec, space, seed=seed)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parameters = parameters_of(space)
    searched = parameters_in(space)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)
        if spec.method in ("random", "tpe"):
            known = [_encoded(searched, point) for point in first]
            searcher = OptunaSearch(
                _conditional(parameters),
                metric=_LOSS,
                mode="min",
                points_to_evaluate=known,
                sampler=_sampler(spec, seed=seed),
            )
            return _TuneSuggester(searcher, parameters)
        whole = [_encoded(searched, {**_middle(searched), **point}) for point in first]
        if spec.method in ("sobol", "gp"):
            sampler = _sampler(spec, seed=seed)
            searcher = OptunaSearch(metric=_LOSS, mode="min", points_to_evaluate=whole, sampler=sampler)
            searcher.set_search_properties(_LOSS, "min", _domains(searched))
        else:
            searcher = _other(spec.method, _domains(searched), first=whole, seed=seed)
    return _TuneSuggester(searcher, parameters)


def _sampler(spec: SearchSpec, *, seed: int) -> optuna.samplers.BaseSampler:
    random = min(_MOST_RANDOM, -(-spec.trials // _RANDOM_SHARE))
    state = seed % 2**32
    match spec.method:
        case "random":
            return optuna.samplers.RandomSampler(seed=state)
        case "sobol":
            return optuna.samplers.QMCSampler(
                qmc_type="sobol", scramble=True, seed=state, warn_independent_sampling=False
            )
        case "gp":
            return optuna.samplers.GPSampler(seed=state, n_startup_trials=random)
        case _:
            return optuna.samplers.TPESampler(
                seed=state, n_startup_trials=random, multivariate=True, group=True, constant_liar=True
            )


def _other(method: str, domains: Mapping[str, Any], *, first: Sequence[Mapping[str, Any]], seed: int) -> Searcher:
    """A searcher of Ray Tune by its name; it gets what its arguments accept. Raises `UserError` if its package is not
    installed, or if it does not take such a space."""
    state = seed % 2**32
    given = {"metric": _LOSS, "mode": "min", "points_to_evaluate": list(first) or None}
    seeds = {"seed": state, "random_state": state, "random_state_seed": state}
    try:
        searcher = create_searcher(method, **given, **seeds)
        searcher.set_search_properties(_LOSS, "min", dict(domains))
    except (AssertionError, ImportError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise UserError(f"method: {method} cannot be used: {reason}") from None
    return searcher


class _TuneSuggester:
    """A searcher of Ray Tune. It knows parameters by short names, because it splits names at slashes, and the values of
    choices by their positions, because it takes plain values only."""

    def __init__(self, searcher: Searcher, parameters: Sequence[Parameter]) -> None:
        self._searcher, self._parameters = searcher, parameters

    def suggest(self, number: int) -> Point | None:
        found = self._searcher.suggest(str(number))
        if found is None or found == Searcher.FINISHED:
            return None
        return _decoded(self._parameters, found)

    def report(self, number: int, step: int, loss: float) -> None:
        self._searcher.on_trial_result(str(number), {_LOSS: loss, TRAINING_ITERATION: step})

    def end(self, number: int, loss: float | None) -> None:
        result = {_LOSS: loss, TRAINING_ITERATION: 1} if loss is not None else None
        # without a result it counts as stopped: it is a bad one, and not one to forget as after an error
        self._searcher.on_trial_complete(str(number), result=result, error=False)


class _Grid:
    """All points of a grid, in a random order, so that the first ones are spread over the space."""

    def __init__(self, spec: SearchSpec, space: Space, *, seed: int) -> None:
        number = values_per_interval(space, spec.trials)
        assert number is not None, "refused when the job file is read"
        points = list(points_of(parameters_of(space), number))
        order = np.random.default_rng(seed).permutation(len(points))
        self._points: Iterator[Point] = iter([points[int(place)] for place in order])

    def suggest(self, number: int) -> Point | None:
        return next(self._points, None)

    def report(self, number: int, step: int, loss: float) -> None:
        """A grid does not depend on losses."""

    def end(self, number: int, loss: float | None) -> None:
        """A grid does not depend on losses."""


def _name(position: int) -> str:
    return f"p{position}"


def _encoded(parameters: Sequence[Parameter], point: Point) -> dict[str, Any]:
    """A point as a searcher knows it."""
    return {
        _name(position): one.dimension.values.index(point[one.name])
        if isinstance(one.dimension, Choice)
        else point[one.name]
        for position, one in enumerate(parameters)
        if one.name in point
    }


def _decoded(parameters: Sequence[Parameter], found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the parameters that apply, and those of the parameters that have one value only."""

    def value(name: str, dimension: Interval | Choice) -> Any:
        if isinstance(dimension, Interval):
            return dimension.rounded(found[name])
        return dimension.values[int(found[name])]

    return _point(parameters, value)


def _point(parameters: Sequence[Parameter], value: Callable[[str, Interval | Choice], Any]) -> dict[str, Any]:
    """The point whose values `value` gives, by the short names; it is asked only where there is more than one."""
    point: dict[str, Any] = {}
    position = 0
    for one in parameters:
        alone = len(one.dimension.ends) == 1
        name = _name(position)
        position += not alone
        if one.applies(point):
            point[one.name] = one.dimension.ends[0] if alone else value(name, one.dimension)
    return point


def _middle(parameters: Sequence[Parameter]) -> dict[str, Any]:
    """A value for each parameter, also for those that do not apply."""
    return {one.name: one.dimension.at(0.5) for one in parameters}


def _conditional(parameters: Sequence[Parameter]) -> Callable[[optuna.Trial], None]:
    """The space as a function that asks Optuna only for the parameters that apply."""

    def suggest(trial: optuna.Trial) -> None:
        _point(parameters, partial(_asked, trial))

    return suggest


def _asked(trial: optuna.Trial, name: str, dimension: Interval | Choice) -> Any:
    if isinstance(dimension, Choice):
        return dimension.values[trial.suggest_categorical(name, range(len(dimension.values)))]
    if dimension.whole:
        return trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def _domains(parameters: Sequence[Parameter]) -> dict[str, Any]:
    """The space for other searchers, without conditions."""
    return {_name(position): _domain(one.dimension) for position, one in enumerate(parameters)}


def _domain(dimension: Interval | Choice) -> Any:
    if isinstance(dimension, Choice):
        return tune.choice(range(len(dimension.values)))
    if dimension.whole:  # the upper end of Tune's whole numbers is excluded
        drawn = tune.lograndint if dimension.log else tune.randint
        return drawn(int(dimension.low), int(dimension.high) + 1)
    return (tune.loguniform if dimension.log else tune.uniform)(dimension.low, dimension.high)
