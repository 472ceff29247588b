"""The forms in which a job file writes a search space: `log_uniform(LOW, HIGH)`, lists, and mappings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, WithJsonSchema

from quorate.errors import did_you_mean
from quorate.spec.file import JobFileLoader
from quorate.spec.space import Branches, Choice, Interval, Space

_FORM = re.compile(r"([A-Za-z_]\w*)\((.*)\)", re.DOTALL)


def parse_space(given: Mapping[str, Any]) -> Space:
    """The space that a job file describes; raises `ValueError` with the place in the space."""
    space: dict[str, Interval | Choice | Branches] = {}
    for name, one in (found for key, value in given.items() for found in _parsed(str(key), value)):
        if name in space:
            raise ValueError(f"{name} is in the space twice; keep one of them")
        space[name] = one
    return space


def _parsed(name: str, value: object) -> Iterator[tuple[str, Interval | Choice | Branches]]:
    if not isinstance(value, Mapping):
        yield name, parse_dimension(value)
        return
    if not value:
        raise ValueError(f"{name}: the mapping is empty; name kinds, or parameters with their values")
    if all(inner is None or isinstance(inner, Mapping) for inner in value.values()):
        yield name, Branches({str(kind): _below(f"{name}.{kind}", inner or {}) for kind, inner in value.items()})
        return
    for key, inner in _below(name, value).items():
        yield f"{name}.{key}", inner


def _below(place: str, given: Mapping[str, Any]) -> Space:
    try:
        return parse_space(given)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def parse_dimension(value: object) -> Interval | Choice:
    """A list is a choice, `uniform(0, 1)` an interval, and any other value the only choice; raises `ValueError`."""
    if isinstance(value, list | tuple):
        return _choice(list(value), shown=json.dumps(value))
    call = _FORM.fullmatch(value.strip()) if isinstance(value, str) else None
    if call is None:
        if isinstance(value, str) and value.partition("(")[0].strip() in (*_INTERVALS, "choice") and "(" in value:
            raise ValueError(f"{value}: the closing parenthesis is missing; in braces, put the whole value in quotes")
        return Choice((value,))
    name, inside = call[1], call[2]
    if name == "choice":
        return _choice(_items(inside, str(value)), shown=str(value))
    if name not in _INTERVALS:
        known = [*_INTERVALS, "choice"]
        raise ValueError(f"unknown distribution {name!r}{did_you_mean(name, known)} (choose from {', '.join(known)})")
    return _interval(name, _items(inside, str(value)), str(value))


_INTERVALS = {
    "uniform": (False, False),
    "log_uniform": (True, False),
    "int": (False, True),
    "log_int": (True, True),
}
"""Whether an interval is searched by its logarithms, and whether its numbers are whole."""


def _items(inside: str, whole: str) -> list[Any]:
    try:
        items = yaml.load(f"[{inside}]", Loader=JobFileLoader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError):
        raise ValueError(f"{whole}: what is in the parentheses cannot be read as a list of values") from None
    return list(items)


def _interval(name: str, items: Sequence[Any], shown: str) -> Interval:
    log, whole = _INTERVALS[name]
    if len(items) != 2 or any(isinstance(item, bool) or not isinstance(item, int | float) for item in items):
        raise ValueError(f"{shown} needs two numbers, the lowest and the highest: {name}(LOW, HIGH)")
    low, high = items
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{shown}: both ends must be finite")
    if whole and not (float(low).is_integer() and float(high).is_integer()):
        raise ValueError(f"{shown}: both ends must be whole numbers; write {name.replace('int', 'uniform')} for others")
    if low > high:
        raise ValueError(f"{shown}: the lowest number is above the highest; write {name}({high}, {low})")
    if low == high:
        raise ValueError(f"{shown}: both ends are equal, so there is nothing to search; write {low}")
    if log and low <= 0:
        plain = "int" if whole else "uniform"
        raise ValueError(
            f"{shown}: only positive numbers have a logarithm; raise the lowest number above 0, or write "
            f"{plain}({low}, {high})"
        )
    return Interval(low, high, log, whole)


def _choice(values: Sequence[Any], *, shown: str) -> Choice:
    if not values:
        raise ValueError("there is nothing to choose from; list at least one value")
    seen: set[str] = set()
    for value in values:
        number = isinstance(value, int) and not isinstance(value, bool)
        if (text := json.dumps(float(value) if number else value, sort_keys=True)) in seen:
            raise ValueError(f"{shown} contains {value!r} twice; keep one of them")
        seen.add(text)
    return Choice(tuple(values))


def _checked(value: Any) -> Any:
    try:
        parse_space({"": value}) if isinstance(value, Mapping) else parse_dimension(value)
    except ValueError as error:  # the place of the value is known already
        raise ValueError(str(error).removeprefix(": ").removeprefix(".")) from None
    return value


SpaceValue = Annotated[
    Any,
    AfterValidator(_checked),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "examples": ["log_uniform(1e-4, 1e-1)"]},
                {"type": "array", "minItems": 1},
                {"type": "object"},
                {"type": "number"},
                {"type": "boolean"},
            ]
        }
    ),
]
"""The values of one parameter: `log_uniform(1e-4, 1e-1)`, `uniform`, `int`, `log_int`, `choice`, a list, one value, or
a mapping from kinds to the parameters of each."""
