"""List the kinds that a job file can use, with their origins and parameters."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from quorate.errors import UserError
from quorate.registry import (
    ARCHS,
    AUGMENTATIONS,
    CALIBRATIONS,
    COMBINERS,
    DATASETS,
    INITIALIZATIONS,
    MEMBERS,
    OPTIMIZERS,
    PRETRAININGS,
    SCHEDULES,
    KindParams,
    Registry,
)
from quorate.registry.own_code import OwnCodeError
from quorate.registry.parameter_names import aliases
from quorate.spec.schema import Node, description_of, model_schema

REGISTRIES: dict[str, Registry[Any]] = {
    "members": MEMBERS,
    "archs": ARCHS,
    "augmentations": AUGMENTATIONS,
    "calibrations": CALIBRATIONS,
    "combiners": COMBINERS,
    "datasets": DATASETS,
    "initializations": INITIALIZATIONS,
    "optimizers": OPTIMIZERS,
    "pretrainings": PRETRAININGS,
    "schedules": SCHEDULES,
}
"""The registries that can be listed, by the plural name of their kinds."""

_WORDS = {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "mapping"}
_BOUNDS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))


@dataclass(frozen=True)
class KindEntry:
    """One kind, or a family of them such as `timm/NAME`."""

    name: str
    description: str
    origin: str
    """`built in`, or the name and version of the package that provides the kind; `not installed` if `missing` is
    set."""
    family: list[str] = field(default_factory=list)
    """The full names of all kinds of a family."""
    missing: str = ""
    """An optional package that the kind requires and that is not installed; empty if there is none."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kind, with its type, default and meaning in words."""

    name: str
    type: str
    default: str
    meaning: str


def entries(what: str) -> Iterator[KindEntry]:
    """Yield the kinds of the registry `what` (a key of `REGISTRIES`), sorted by name."""
    for name in REGISTRIES[what].names():
        family = name.endswith("/")
        try:
            kind = REGISTRIES[what].get(f"{name}NAME" if family else name)
        except OwnCodeError as error:
            yield KindEntry(name, f"cannot be used: {error}", "an installed package")
            continue
        names = [f"{name}{member}" for member in kind.names()] if family else []
        missing = _missing(kind.Params)
        origin = "not installed" if missing else _origin(kind)
        yield KindEntry(f"{name}NAME" if family else name, description_of(kind), origin, names, missing)


def entry(what: str, name: str) -> KindEntry:
    """Return the entry of the kind `name`, which can also be a member of a family, or a user's own kind.

    Raises `UnknownKind` if there is no such kind, `OwnCodeError` if the user's own code cannot be used, and
    `UserError` if `name` belongs to a family, such as `timm/`, that has no such kind.
    """
    kind = REGISTRIES[what].get(name)
    if missing := _missing(kind.Params):
        return KindEntry(name, description_of(kind), "not installed", missing=missing)
    try:
        kind.Params.model_validate({"kind": name})
    except ValidationError as error:
        if wrong := [str(details["ctx"]["error"]) for details in error.errors() if details["loc"] == ("kind",)]:
            raise UserError(wrong[0]) from None
    return KindEntry(name, description_of(kind), _origin(kind))


def parameters(what: str, name: str) -> list[Parameter]:
    """Return the keys of the kind except `kind`, with dots for nested mappings; raises `UnknownKind`."""
    model = REGISTRIES[what].get(name).Params
    schema, definitions = model_schema(model)
    for alias, parameter in aliases(model).items():
        also = schema["properties"][parameter]
        also["description"] = f"{also['description']} Also `{alias}`."
    return list(_parameters(schema, definitions, ""))


def _parameters(schema: Node, definitions: Mapping[str, Node], prefix: str) -> Iterator[Parameter]:
    required = schema.get("required", ())
    for key, node in schema.get("properties", {}).items():
        if key == "kind" and not prefix:
            continue
        default = "required" if key in required else _value(node.get("default"))
        nested = definitions.get(node.get("$ref", "").rpartition("/")[2])
        meaning = node.get("description") or (nested or {}).get("description", "")
        if nested is not None and "properties" in nested:
            default = default if key in required else ""
        yield Parameter(f"{prefix}{key}", _type(node, definitions), default, meaning)
        for inner in _mappings(node, definitions):
            yield from _parameters(inner, definitions, f"{prefix}{key}.")


def _mappings(node: Node, definitions: Mapping[str, Node]) -> Iterator[Node]:
    for branch in node.get("anyOf", [node]):
        inner = definitions.get(branch.get("$ref", "").rpartition("/")[2])
        if inner is not None and "properties" in inner:
            yield inner


def _type(node: Node, definitions: Mapping[str, Node]) -> str:
    """Describe a schema in words, such as `whole number ≥ 1 or null`."""
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_type(branch, definitions) for branch in node["anyOf"]))
    if "kindOf" in node:
        return str(node["kindOf"])
    if "$ref" in node:
        return _type(definitions[node["$ref"].rpartition("/")[2]], definitions)
    if "enum" in node or "const" in node:
        return ", ".join(_value(choice) for choice in node.get("enum", [node.get("const")]))
    if node.get("examples"):
        return f"text such as {node['examples'][0]}"
    if node.get("type") == "array":
        return f"list of {_type(node['items'], definitions)}" if node.get("items") else "list"
    if node.get("format") == "path":
        return "path"
    bounds = ", ".join(f"{sign} {node[key]:,}" for key, sign in _BOUNDS if key in node)
    return f"{_WORDS.get(node.get('type', ''), node.get('type', 'anything'))} {bounds}".strip()


def _value(value: object) -> str:
    """Return the value as a job file writes it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, dict) and value.keys() == {"kind"}:
        value = value["kind"]
    return value if isinstance(value, str) else json.dumps(value)


def _missing(params: type[KindParams]) -> str:
    package = params.needs_package
    return package if package and importlib.util.find_spec(package) is None else ""


def _origin(kind: object) -> str:
    package = getattr(kind, "__module__", "").partition(".")[0]
    if package == "quorate":
        return "built in"
    distributions = importlib.metadata.packages_distributions().get(package, ())
    return f"{distributions[0]} {importlib.metadata.version(distributions[0])}" if distributions else package
