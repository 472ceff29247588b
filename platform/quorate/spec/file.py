"""Parse YAML with the line of every value; reject mistakes that `safe_load` accepts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from quorate.errors import UserError

Loc = tuple[str | int, ...]
"""The path of a value in a file: keys of mappings and positions in lists."""

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


@dataclass(frozen=True)
class Problem:
    """One error in a job file; `line` counts from 1, and is 0 if the line is unknown."""

    loc: Loc
    message: str
    line: int = 0
    source: str = ""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        path = ".".join(map(str, self.loc))
        return ": ".join(part for part in (place, path, self.message) if part)


@dataclass(frozen=True)
class Override:
    """`KEY=VALUE` from the command line; `option` is what the user wrote, by default `--set KEY=VALUE`."""

    text: str
    option: str = ""

    def __str__(self) -> str:
        return self.option or f"--set {self.text}"


class SpecError(UserError):
    """All errors of a job file, in the order of its lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True)
class Source:
    """A parsed file: its values and the line of each value."""

    name: str
    tree: dict[str, Any]
    lines: Mapping[Loc, int]
    options: Mapping[Loc, str] = field(default_factory=dict)
    """The command-line options that set values, by the path of the value."""

    def problem(self, loc: Loc, message: str) -> Problem:
        """Return a problem at `loc`, or at its nearest parent that is set in the file or on the command line."""
        known = loc
        while known and known not in self.lines:
            if known in self.options:
                return Problem(loc, message, source=self.options[known])
            known = known[:-1]
        return Problem(loc, message, self.lines.get(known, 0), self.name)


class JobFileLoader(yaml.SafeLoader):
    """Resolve scalars as YAML 1.2 does: `1e-3` is a number; `no`, `on` and dates are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    JobFileLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(f"^(?:{_pattern})$"),
        list(_first) + ([""] if _tag == "null" else []),
    )
JobFileLoader.add_constructor(
    "tag:yaml.org,2002:float",
    lambda loader, node: float(re.sub(r"\.(?=inf|nan)", "", node.value.lower())),
)
JobFileLoader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


def read(path: Path, overrides: Sequence[str | Override] = (), *, expand: bool = True) -> Source:
    """Parse the file at `path`, apply `KEY=VALUE` overrides and expand `${VAR:-default}`; raises `SpecError`.

    Without `expand`, variables stay as they are written.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError([Problem((), f"cannot read the job file: {error.strerror}", source=str(path))]) from None
    except UnicodeDecodeError:
        raise SpecError([Problem((), "the job file is not UTF-8 text", source=str(path))]) from None
    return parse(text, name=str(path), overrides=overrides, expand=expand)


def parse(text: str, *, name: str, overrides: Sequence[str | Override] = (), expand: bool = True) -> Source:
    """Parse text like `read`; messages use `name` as the name of the file."""
    lines: dict[Loc, int] = {}
    problems: list[Problem] = []
    try:
        problems += [
            Problem((), "YAML tags are not supported; remove the tag", token.start_mark.line + 1, name)
            for token in yaml.scan(text, Loader=JobFileLoader)
            if isinstance(token, yaml.TagToken)
        ]
        if problems:
            raise SpecError(problems)
        loader = JobFileLoader(text)
        node = loader.get_single_node()
        tree = _build(loader, node, (), lines, problems, name) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise SpecError([Problem((), f"not valid YAML: {error.problem}", line, name)]) from None
    except yaml.YAMLError as error:
        raise SpecError([Problem((), f"not valid YAML: {error}", 0, name)]) from None
    except RecursionError:
        raise SpecError([Problem((), "lists or mappings are nested too deeply to be read", 0, name)]) from None
    if not isinstance(tree, dict):
        problems.append(Problem((), "a job file must be a mapping of keys to values", 1, name))
        raise SpecError(problems)
    options: dict[Loc, str] = {}
    for override in overrides:
        given = Override(override) if isinstance(override, str) else override
        problems += _override(tree, lines, options, given)
    expanded = _expand(tree, (), lines, problems, name) if expand else tree
    if problems:
        raise SpecError(problems)
    return Source(name, expanded, lines, options)


def _build(loader: Any, node: yaml.Node, loc: Loc, lines: dict[Loc, int], problems: list[Problem], name: str) -> Any:
    lines.setdefault(loc, node.start_mark.line + 1)
    if len(loc) > 50:
        raise SpecError([Problem(loc[:3], "nested too deeply (an anchor may contain itself)", lines[loc], name)])
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*loc, i), lines, problems, name) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        try:
            return loader.construct_object(node)
        except ValueError as error:  # Python refuses to parse numbers with thousands of digits
            problems.append(Problem(loc, str(error), lines[loc], name))
            return None
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key == "<<":
            problems.append(Problem(loc, "a key must be plain text; merge keys are not supported", line, name))
            continue
        if key in built:
            problems.append(
                Problem(
                    (*loc, key),
                    f"the key {key!r} is given twice (first in line {lines[*loc, key]})",
                    line,
                    name,
                )
            )
            continue
        lines[*loc, key] = line
        built[key] = _build(loader, value_node, (*loc, key), lines, problems, name)
    return built


def _override(
    tree: dict[str, Any], lines: dict[Loc, int], options: dict[Loc, str], override: Override
) -> Iterator[Problem]:
    path, equals, text = override.text.partition("=")
    source = str(override)
    if not equals or not path:
        yield Problem((), "expected KEY=VALUE, for example members.cnn.epochs=3", source=source)
        return
    loc: Loc = tuple(path.split("."))
    try:
        value = yaml.load(text, Loader=JobFileLoader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        yield Problem(loc, f"the value {text!r} is not valid YAML", source=source)
        return
    inner = tree
    for depth, key in enumerate(loc[:-1]):
        below = inner.setdefault(str(key), {})
        if not isinstance(below, dict):
            yield Problem(loc[: depth + 1], f"is {below!r}, not a mapping; set the whole value", source=source)
            return
        inner = below
    inner[str(loc[-1])] = value
    for stale in [known for known in lines if known[: len(loc)] == loc]:
        del lines[stale]
    options[loc] = source


def _expand(value: Any, loc: Loc, lines: Mapping[Loc, int], problems: list[Problem], name: str) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, (*loc, key), lines, problems, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, (*loc, i), lines, problems, name) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        found = os.environ.get(match[1]) or match[2]
        if found is None:
            problems.append(
                Problem(
                    loc,
                    f"the environment variable {match[1]} is not set; set it, or write ${{{match[1]}:-default}}",
                    lines.get(loc, 0),
                    name,
                )
            )
        return found or ""

    return _VARIABLE.sub(variable, value)
