"""Recipes of members: the values that differ from their defaults, as a job file would write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, RootModel

ALWAYS = ("kind", "arch", "epochs", "lr")
"""Parameters that a list of members always shows, even with their default values, because members are compared by
them."""
_NOT_LEARNED = ("copies", "vary", "cpus", "gpus", "memory", "needs", "search")
"""Parameters that set the number of copies and their resources, and do not change what is trained."""


def without_defaults(params: BaseModel) -> dict[str, Any]:
    """Return only what a job file needs to contain: every kind, and the values that differ from their defaults."""
    dumped = params.model_dump(mode="json")
    said = {}
    for name, definition in type(params).model_fields.items():
        value, default = getattr(params, name), definition.get_default(call_default_factory=True)
        if name == "kind" or definition.is_required() or value != default:
            short = as_written(value, dumped[name])
            if name == "kind" or definition.is_required() or short != default:
                said[name] = short
    return said


def member_recipe(params: BaseModel) -> dict[str, Any]:
    """Return a member's parameters under dotted names: those of `ALWAYS`, and others that differ from their defaults.

    A nested kind has its own key (`optimizer: adamw`), and its parameters have dotted keys (`optimizer.betas`). A
    nested mapping with only default values is `true`.
    """
    said = {name: value for name, value in without_defaults(params).items() if name not in _NOT_LEARNED}
    dumped = params.model_dump(mode="json")
    first = {name: said.pop(name, _named(dumped[name])) for name in ALWAYS if name in dumped}
    return _flat({**first, **said})


def comparable(recipes: Mapping[str, Sequence[Mapping[str, Any]]]) -> set[str]:
    """Return the parameters by which members can be compared.

    They are those of `ALWAYS`, those that at least two members set, and those in which copies differ. `recipes` maps
    each member's name to the recipes of its copies.
    """
    said = Counter(key for copies in recipes.values() for key in {key for recipe in copies for key in recipe})
    varied = {
        key for copies in recipes.values() for key in said if len({repr(recipe.get(key)) for recipe in copies}) > 1
    }
    return {*ALWAYS, *varied, *(key for key, members in said.items() if members > 1)}


def as_written(value: Any, dumped: Any) -> Any:
    """Return a value as a job file writes it; a kind with default parameters is its name."""
    if isinstance(value, BaseModel) and not isinstance(value, RootModel) and isinstance(dumped, dict):
        said = without_defaults(value)
        return said["kind"] if list(said) == ["kind"] else said
    if isinstance(value, Mapping):
        return {key: as_written(each, dumped[key]) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [as_written(each, other) for each, other in zip(value, dumped, strict=True)]
    return dumped


def _named(dumped: Any) -> Any:
    return dumped["kind"] if isinstance(dumped, dict) and "kind" in dumped else dumped


def _flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in params.items():
        key = prefix.removesuffix(".") if name == "kind" and prefix else f"{prefix}{name}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.") if value else {key: True}
        else:
            flat[key] = value
    return flat
