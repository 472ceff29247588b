"""Make the parameters of a member from a point of a search space, and check a space against its member."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from quorate.registry import MEMBERS, InvalidParams, KindParams
from quorate.registry.parameter_names import field_named
from quorate.spec.file import Loc
from quorate.spec.nested_values import set_nested
from quorate.spec.problems import first_problem, problems_at
from quorate.spec.search import parameters_in
from quorate.spec.space import (
    Branches,
    Parameter,
    Point,
    Space,
    grid_size,
    parameters_of,
    values_per_interval,
)
from quorate.spec.space_forms import parse_space

if TYPE_CHECKING:
    from quorate.spec.kind_params import MemberParams

PLACE = ("cpus", "gpus", "memory", "needs")
"""Parameters that every kind has: they stay when a search chooses another kind."""
_OUTSIDE = {"copies", "vary", "search", *PLACE}
"""Parameters that no search changes."""
_SAMPLES = 64
"""Random points that are tried, of which one must make a valid member (an assumption)."""


def space_of(params: MemberParams) -> Space:
    """The space of a member's `search`, or else that of its kind."""
    assert params.search is not None
    space = dict(params.search.own_space) or parse_space(params.search_space())
    kinds = space.get("kind")
    if isinstance(kinds, Branches):  # a kind of member without parameters is searched in its own space
        filled = {kind: inner or _default_space(params, kind) for kind, inner in kinds.kinds.items()}
        return {**space, "kind": Branches(filled)}
    return space


def _default_space(params: MemberParams, kind: str) -> Space:
    if kind not in MEMBERS.names():
        return {}  # refused as the name of a kind
    own = params if kind == params.kind else MEMBERS.get(kind).Params.model_construct(kind=kind)
    return parse_space(own.search_space())


def configured(base: MemberParams, parameters: Sequence[Parameter], point: Point) -> MemberParams:
    """The member as written, with one copy and the values of a point.

    Raises `ValidationError`, `InvalidParams` or `ValueError` if that is not a valid member.
    """
    model, given = _configuration(base, parameters, point)
    made: MemberParams = model.model_validate(given)
    return made


def _configuration(
    base: MemberParams, parameters: Sequence[Parameter], point: Point
) -> tuple[type[MemberParams], dict[str, Any]]:
    chosen = point.get("kind", base.kind)
    model: type[MemberParams] = MEMBERS.get(chosen).Params
    given = base.model_dump(exclude={"copies", "vary", "search"}, exclude_unset=True)
    if chosen != base.kind:
        given = {name: value for name, value in given.items() if name in PLACE}
        base = model.model_construct(kind=chosen)
    given["kind"] = chosen
    for one in parameters:
        if one.name not in point or one.path == "kind":
            continue
        first, dot, rest = one.path.partition(".")
        path, value = field_named(model, first) + dot + rest, point[one.name]
        set_nested(given, path, _kind_at(given, path, value) if one.is_kind else value, base.default_of)
    return model, given


def _kind_at(given: dict[str, Any], path: str, kind: str) -> dict[str, Any]:
    """A kind with its parameters as written if the member has this kind already; with its defaults otherwise."""
    value: Any = given
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return dict(value) if isinstance(value, dict) and value.get("kind") == kind else {"kind": kind}


def problem_of(error: ValueError) -> str:
    """Why `configured` has failed, as a sentence."""
    if isinstance(error, ValidationError | InvalidParams):
        return first_problem(error, error.model if isinstance(error, InvalidParams) else KindParams, {})
    return str(error)


def values_in(params: MemberParams, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """The values that a member has of the parameters of a space that apply, by their names."""
    values: dict[str, Any] = {}
    for one in parameters:
        if not one.applies(values):
            continue
        first, dot, rest = one.path.partition(".")
        value: Any = params
        for key in (field_named(type(params), first) + dot + rest).split("."):
            value = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
        values[one.name] = getattr(value, "kind", value)  # the parameters of a kind are searched on their own
    return values


def point_of(base: MemberParams, parameters: Sequence[Parameter], params: MemberParams) -> Point | None:
    """The point of a space that makes this member; None if the space does not contain it."""
    point = values_in(params, parameters)
    if not all(one.dimension.contains(point[one.name]) for one in parameters if one.name in point):
        return None
    try:
        made = configured(base, parameters, point)
    except ValueError:
        return None
    outside = {"copies", "search", "vary"}
    return point if made.model_dump(exclude=outside) == params.model_dump(exclude=outside) else None


def space_problems(params: MemberParams) -> Iterator[tuple[Loc, str]]:
    """What is wrong with the `search` of a member, with places below the member."""
    assert params.search is not None
    if params.vary:
        yield ("vary",), "vary and search both set parameters of the copies; remove one of them"
        return
    space = space_of(params)
    if not space:
        message = f"{params.kind} has no search space of its own; name its parameters in space, such as lr: [0.1, 0.01]"
        yield ("search",), message
        return
    parameters = parameters_of(space)
    if found := list(_problems_of_parameters(params, parameters)):
        yield from found
        return
    if not parameters_in(space):
        yield ("search", "space"), "every parameter has one value only, so there is nothing to search; give several"
    if params.search.method == "grid" and values_per_interval(space, params.search.trials) is None:
        size = grid_size(space, 2)
        yield (
            ("search", "trials"),
            f"the grid of this space has at least {size:,} points, which is more than the \
{params.search.trials:,} trials; raise trials, list fewer values, or choose method: sobol",
        )
    if problem := _without_a_member(params, space):
        yield ("search", "space"), problem


def _problems_of_parameters(params: MemberParams, parameters: Sequence[Parameter]) -> Iterator[tuple[Loc, str]]:
    """A problem of each parameter that the member does not have, or of whose values one is not valid."""
    known: dict[tuple[object, ...], str] = {}
    for one in parameters:
        place = ("search", "space", *_keys(one.name))
        first, dot, rest = one.path.partition(".")
        if first in _OUTSIDE:
            yield place, f"{first} does not change what is trained; remove it from the space"
            continue
        if "kind" not in {first, *dict(one.conditions)}:
            twin = known.setdefault((field_named(type(params), first) + dot + rest, one.conditions), one.name)
            if twin != one.name:
                yield place, f"it is the same parameter as {twin}; keep one of them"
        each = [(value, _problem_of(params, parameters, one, value)) for value in one.dimension.ends]
        wrong = [(value, problem) for value, problem in each if problem is not None]
        if wrong:
            value, problem = wrong[0]
            yield place, problem if len(wrong) == len(each) else f"at {value}: {problem}"


def _problem_of(params: MemberParams, parameters: Sequence[Parameter], one: Parameter, value: Any) -> str | None:
    """The problem of one value, with all else as written; None if it is valid, or if others decide about it."""
    point = {**dict(one.conditions), one.name: value}
    try:
        model, given = _configuration(params, parameters, point)
        model.model_validate(given)
    except (ValidationError, InvalidParams) as error:
        path = field_named(model, one.path.partition(".")[0])
        return problems_at(error, model, given, (path, *one.path.split(".")[1:]))
    except ValueError as error:
        return str(error)
    return None


def _without_a_member(params: MemberParams, space: Space) -> str | None:
    """A problem if no random point of the space makes a valid member."""
    generator, parameters, problem = random.Random(0), parameters_of(space), ""  # noqa: S311
    for _ in range(_SAMPLES):
        point: dict[str, Any] = {}
        for one in parameters:
            if one.applies(point):
                point[one.name] = one.dimension.at(generator.random())
        try:
            model, given = _configuration(params, parameters, point)
            model.model_validate(given)
        except (ValidationError, InvalidParams) as error:
            problem = first_problem(error, model, given)
        except ValueError as error:
            problem = str(error)
        else:
            return None
    return f"none of {_SAMPLES} random points makes a valid member: {problem}"


def _keys(name: str) -> Iterator[str]:
    """The keys of a parameter in the file, where a dotted name is one key or several."""
    for part in re.split(r"[\[\]]+\.?", name):
        if "." in part:
            yield part
        yield from part.split(".")
