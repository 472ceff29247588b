"""Turn pydantic's errors into problems at the places of a file."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ValidationError

from quorate.registry import InvalidParams, did_you_mean
from quorate.registry.parameter_names import unknown_key_message
from quorate.spec.file import Loc, Problem, Source
from quorate.spec.values import OTHER_BRANCH

_WRONG_TYPE = {"path_type", "model_type", "string_type", OTHER_BRANCH}
"""Types of errors in branches of a union that the value was not meant for; errors of the other branch are preferred."""


def problems(error: ValidationError, model: type[BaseModel], source: Source) -> list[Problem]:
    """Return pydantic's errors, including those of nested kinds, as one problem per place in the file."""
    messages: dict[Loc, list[str]] = {}
    other_branch: dict[Loc, list[str]] = {}
    found = _flatten(error, (), model)
    urls = {_visible(loc, source.tree) for loc, _, details in found if details["type"] == OTHER_BRANCH}
    for loc, inner, details in found:
        if details["type"] == "too_short" and any(other[:-1] == loc for other, *_ in found):
            continue  # too short only because invalid items do not count
        place, text = _plain(loc, inner, details, source.tree)
        if details["type"] == "literal_error" and place in urls:
            continue  # the branch for paths explains it
        texts = (other_branch if details["type"] in _WRONG_TYPE else messages).setdefault(place, [])
        if text not in texts:
            texts.append(text)
    for place, texts in other_branch.items():
        if not any(below[: len(place)] == place for below in messages):
            messages[place] = texts
    return [source.problem(loc, " or ".join(texts)) for loc, texts in messages.items()]


def first_problem(error: ValidationError | InvalidParams, model: type[BaseModel], tree: Any) -> str:
    """Return one problem of parameters that are not read from a file, as a sentence with its place."""
    found = _flatten(error.error, (), error.model) if isinstance(error, InvalidParams) else _flatten(error, (), model)
    loc, inner, details = next((one for one in found if one[2]["type"] not in _WRONG_TYPE), found[0])
    place, text = _plain(loc, inner, details, tree)
    return f"{'.'.join(map(str, place))}: {text}" if place else text


def problems_at(error: ValidationError | InvalidParams, model: type[BaseModel], tree: Any, place: Loc) -> str | None:
    """Return a problem of the value at `place`, or above or below it, of parameters that are not read from a file.

    None if all problems are elsewhere, or if it concerns several values together.
    """
    found = _flatten(error.error, (), error.model) if isinstance(error, InvalidParams) else _flatten(error, (), model)
    for loc, inner, details in found:
        where, text = _plain(loc, inner, details, tree)
        common = min(len(where), len(place))
        if where and where[:common] == place[:common] and details["type"] not in _WRONG_TYPE:
            return f"{'.'.join(map(str, where[len(place) :]))}: {text}" if len(where) > len(place) else text
    return None


def _flatten(error: ValidationError, prefix: Loc, model: type[BaseModel]) -> list[tuple[Loc, type[BaseModel], Any]]:
    flat = []
    for details in error.errors(include_url=False):
        loc = (*prefix, *details["loc"])
        inner = details.get("ctx", {}).get("error")
        if isinstance(inner, InvalidParams):
            flat += _flatten(inner.error, loc, inner.model)
        else:
            flat.append((loc, _model_at(model, loc[len(prefix) :]), details))
    return flat


def _model_at(model: type[BaseModel], loc: Loc) -> type[BaseModel]:
    """Return the model that contains the last key of `loc`."""
    for key in loc[:-1]:
        field = model.model_fields.get(str(key))
        nested = [part for part in _parts(field.annotation if field else None) if _is_model(part)]
        if nested:
            model = nested[0]
    return model


def _parts(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, Annotated, dict, list):
        return [part for inner in typing.get_args(annotation) for part in _parts(inner)]
    return [annotation]


def _is_model(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def _plain(loc: Loc, model: type[BaseModel], details: Mapping[str, Any], tree: Any) -> tuple[Loc, str]:
    """Return the place of an error as the user sees it in the file, and a message."""
    kind, value = details["type"], details["input"]
    if kind in ("extra_forbidden", "missing"):
        key, parent = str(loc[-1]), _visible(loc[:-1], tree)
        given = _at(parent, tree)
        text = unknown_key_message(key, model, given) if kind == "extra_forbidden" else f"the key {key!r} is missing"
        return (*parent, key), text
    loc = _visible(loc, tree)
    if kind == "value_error":
        return loc, str(details["ctx"]["error"])
    if kind == "literal_error":
        expected = details["ctx"]["expected"]
        choices = re.findall(r"'([^']+)'", expected)
        return loc, f"{value!r} is not one of {expected}{did_you_mean(str(value), choices)}"
    message = details["msg"].replace("Input should be", "should be")
    if kind in ("dict_type", "model_type"):
        message = "should be a mapping of keys to values"
    return loc, f"{message}, but is {value!r}" if not isinstance(value, dict | list) else message


def _at(loc: Loc, tree: Any) -> Any:
    for key in loc:
        tree = tree[key]
    return tree


def _visible(loc: Loc, tree: Any) -> Loc:
    """Return `loc` without the names of union branches, which pydantic adds."""
    seen: list[str | int] = []
    for key in loc:
        keys = range(len(tree)) if isinstance(tree, list) else tree if isinstance(tree, dict) else ()
        if key in keys:
            seen.append(key)
            tree = tree[key]
    return tuple(seen)
