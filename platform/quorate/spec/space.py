"""Search spaces: the values that a search may give to the parameters of a member."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Point = Mapping[str, Any]
"""A value for each parameter of a space that applies, by the names of `Parameter`."""

_DIGITS = 4
"""Significant digits of a suggested number, and of its distance from the ends of the interval: enough for a search, and
readable in a job file."""


@dataclass(frozen=True)
class Interval:
    """The numbers from `low` to `high`, both included; `log` searches their logarithms."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, part: float) -> float | int:
        """The number at a part of the interval, from 0 (`low`) to 1 (`high`)."""
        if self.log:
            return self.rounded(math.exp(math.log(self.low) + part * (math.log(self.high) - math.log(self.low))))
        return self.rounded(self.low + part * (self.high - self.low))

    def rounded(self, value: float) -> float | int:
        """The number as a member gets it: a whole number, or one with few digits; never outside of the interval."""
        shorter = round(value) if self.whole else float(f"{value:.{self._digits}g}")
        found = min(max(shorter, self.low), self.high)
        return int(found) if self.whole else float(found)

    @cached_property
    def _digits(self) -> int:
        """More digits if the interval is narrow, such as that from 0.999 to 0.9999."""
        largest = max(abs(self.low), abs(self.high))
        return _DIGITS + max(0, math.floor(math.log10(largest / (self.high - self.low))))

    def contains(self, value: object) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high  # type: ignore[operator]

    def grid(self, points: int) -> tuple[float | int, ...]:
        """At most this number of values, evenly spaced from `low` to `high`."""
        return tuple(dict.fromkeys(self.at(number / max(points - 1, 1)) for number in range(points)))

    @property
    def ends(self) -> tuple[Any, ...]:
        return (self.rounded(self.low), self.rounded(self.high))


@dataclass(frozen=True)
class Choice:
    """Some values without an order."""

    values: tuple[Any, ...]

    def at(self, part: float) -> Any:
        return self.values[min(int(part * len(self.values)), len(self.values) - 1)]

    def contains(self, value: object) -> bool:
        return value in self.values

    def grid(self, points: int) -> tuple[Any, ...]:
        return self.values

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.values


@dataclass(frozen=True)
class Branches:
    """A choice of kinds, each with parameters of its own."""

    kinds: Mapping[str, Space]


Dimension = Interval | Choice
Space = Mapping[str, Interval | Choice | Branches]


@dataclass(frozen=True)
class Parameter:
    """One number or choice of a space; it applies if every condition holds."""

    name: str
    """Unique in the space: the path, with the kinds that it belongs to, such as `schedule[step].every`."""
    path: str
    """Where the value goes in the parameters of the member, such as `schedule.every`."""
    dimension: Dimension
    conditions: tuple[tuple[str, str], ...] = ()
    """The names of the parameters with a kind that it belongs to, and these kinds."""
    is_kind: bool = False
    """Whether the value is the name of a kind."""

    def applies(self, point: Point) -> bool:
        return all(point.get(name) == kind for name, kind in self.conditions)


def parameters_of(space: Space) -> tuple[Parameter, ...]:
    """The parameters of a space in its order; those of a kind follow the choice of the kind."""
    return tuple(_parameters(space, "", "", ()))


def _parameters(space: Space, name: str, path: str, conditions: tuple[tuple[str, str], ...]) -> Iterator[Parameter]:
    for key, dimension in space.items():
        own, place = f"{name}{key}", f"{path}{key}"
        if not isinstance(dimension, Branches):
            yield Parameter(own, place, dimension, conditions)
            continue
        yield Parameter(own, place, Choice(tuple(dimension.kinds)), conditions, is_kind=True)
        below = "" if place == "kind" else f"{place}."  # the parameters of a kind of member are at the top
        for kind, inner in dimension.kinds.items():
            yield from _parameters(inner, f"{own}[{kind}].", below, (*conditions, (own, kind)))


def points_of(parameters: Sequence[Parameter], number: int, point: Point | None = None) -> Iterator[dict[str, Any]]:
    """Every point of a grid with this number of values of each interval."""
    if not parameters:
        yield dict(point or {})
        return
    first, *rest = parameters
    if not first.applies(point or {}):
        yield from points_of(rest, number, point)
        return
    for value in first.dimension.grid(number):
        yield from points_of(rest, number, {**(point or {}), first.name: value})


def grid_size(space: Space, number: int) -> int:
    """The number of points of a grid with this number of values of each interval."""
    return math.prod(
        sum(grid_size(inner, number) for inner in one.kinds.values())
        if isinstance(one, Branches)
        else len(one.grid(number))
        for one in space.values()
    )


def values_per_interval(space: Space, most: int) -> int | None:
    """A number of values of each interval with which a grid has at most this number of points, but not many fewer.

    None if even two are too many.
    """
    if grid_size(space, 2) > most:
        return None
    low, high = 2, 3
    while high <= most and grid_size(space, high) <= most:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if grid_size(space, middle) <= most else (low, middle)
    return low
