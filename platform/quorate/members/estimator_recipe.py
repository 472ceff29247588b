"""A scikit-learn estimator as plain values for a job file: the path of its class, and its parameters."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import Kernel
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier

CLASS = "class"
"""The key of the class in an estimator that is itself a parameter."""

_PACKAGE = "sklearn"


def describe(estimator: BaseEstimator | Kernel) -> dict[str, Any]:
    """Return the recipe of an unfitted estimator: its class, and the parameters that differ from their defaults.

    Nested estimators, such as the steps of a pipeline, become recipes too. Raises `ValueError` for a class from outside
    scikit-learn, and for parameters that a job file cannot represent, such as arrays and functions.
    """
    path = _public_path(type(estimator))
    defaults = {name: p.default for name, p in inspect.signature(type(estimator)).parameters.items()}
    given = estimator.get_params(deep=False)
    changed = {name: value for name, value in given.items() if not _is_default(value, defaults.get(name))}
    return {CLASS: path, **{name: _plain(value, f"{path}: {name}") for name, value in changed.items()}}


def build(recipe: Mapping[str, Any], *, seed: int) -> BaseEstimator:
    """Build the estimator of a recipe; each `random_state` that the recipe does not set is drawn from `seed`.

    If scikit-learn chooses the neighbour search (`algorithm: auto`), it is set to brute force: a bundle cannot store
    search trees, and the neighbours are the same.

    Raises `ValueError` if scikit-learn has no such class, or if the class does not take the parameters.
    """
    estimator = _build(recipe)
    random = np.random.RandomState(seed)
    drawn = {
        name: int(random.randint(np.iinfo(np.int32).max))
        for name, value in sorted(estimator.get_params(deep=True).items(), key=lambda item: item[0])
        if (name == "random_state" or name.endswith("__random_state")) and value is None
    }
    for part in (estimator, *estimator.get_params(deep=True).values()):
        if isinstance(part, KNeighborsClassifier | RadiusNeighborsClassifier) and part.algorithm == "auto":
            part.set_params(algorithm="brute")
    return estimator.set_params(**drawn)


def _build(recipe: Mapping[str, Any]) -> BaseEstimator | Kernel:
    found = find_class(recipe[CLASS])
    params = {name: _built(value) for name, value in recipe.items() if name != CLASS}
    known = inspect.signature(found).parameters
    if unknown := sorted(params.keys() - known.keys()):
        raise ValueError(f"{recipe[CLASS]} does not take {', '.join(unknown)} (it takes {', '.join(known)})")
    try:
        return found(**params)
    except TypeError as error:  # a parameter without a default is missing, or the class is abstract
        raise ValueError(f"{recipe[CLASS]} cannot be created: {error}") from None


def find_class(path: object) -> type[BaseEstimator | Kernel]:
    """Return the class of scikit-learn at `path`, an estimator or a Gaussian process kernel; raises `ValueError`."""
    module, _, name = str(path).rpartition(".")
    if module.partition(".")[0] != _PACKAGE:
        raise ValueError(
            f"{path!r} is not a scikit-learn class, such as sklearn.neural_network.MLPClassifier; for an estimator of "
            "another package, write a function that builds it, and set kind: my_module:build"
        )
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        found = None
    if not (isinstance(found, type) and issubclass(found, BaseEstimator | Kernel)):
        raise ValueError(f"scikit-learn has no estimator {path}")
    return found


def _public_path(found: type) -> str:
    """Return the path by which users import the class; scikit-learn defines its classes in private modules."""
    parts = found.__module__.split(".")
    if parts[0] != _PACKAGE:
        raise ValueError(
            f"{found.__module__}.{found.__qualname__} is not a scikit-learn estimator; write a function that builds it "
            "and use {'kind': 'my_module:build'}, or use a built-in kind of member (see `quorate list members`)"
        )
    public = parts[: next((i for i, part in enumerate(parts) if part.startswith("_")), len(parts))]
    path = ".".join([*public, found.__name__])
    find_class(path)
    return path


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, float) and isinstance(default, float) and np.isnan(value):
        return bool(np.isnan(default))
    return value is default or (type(value) is type(default) and isinstance(value, _SIMPLE) and value == default)


_SIMPLE = (bool, int, float, str, tuple)


def _plain(value: Any, place: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item(), place)
    if isinstance(value, BaseEstimator | Kernel):
        return describe(value)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) and key != CLASS for key in value):
        return {key: _plain(item, f"{place}.{key}") for key, item in value.items()}
    raise ValueError(
        f"{place} is a {type(value).__name__}, which a job file cannot contain (valid are numbers, text, lists, "
        "mappings with text as keys, and estimators); build the estimator in your own function, and use it as a "
        "member: {'kind': 'my_module:build'}"
    )


def _built(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _build(value) if CLASS in value else {key: _built(item) for key, item in value.items()}
    if not isinstance(value, list | tuple):
        return value
    items = [_built(item) for item in value]
    # (name, estimator) of a pipeline, a vote or a stack; a file has only lists
    return tuple(items) if items and isinstance(items[0], str) and len(items) in (2, 3) else items
