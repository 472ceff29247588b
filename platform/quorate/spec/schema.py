"""Build the JSON Schema of a job file from the models of its parts and of every registered kind."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from quorate.registry import AUGMENTATIONS, REGISTRIES, Registry
from quorate.registry.own_code import OwnCodeError
from quorate.registry.parameter_names import aliases
from quorate.spec.job import JobSpec
from quorate.spec.values import NAME

Node = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
OWN_KIND = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"
"""The pattern of a user's own kind, `module:name`; the schema does not contain its parameters."""
VARIABLE = r"\$\{\w+(:-[^}]*)?\}"
"""The pattern of a variable, which the loader expands anywhere in a value."""

_SCALARS = {"integer", "number", "boolean"}
_LIMITS = ("enum", "const", "pattern", "minLength", "maxLength")


def job_schema(*, built_in: bool = False) -> Node:
    """Return the schema (draft 2020-12) of a whole job file, for editors and other programs.

    A kind is its name alone if it requires no parameter, or a mapping whose key `kind` decides the other keys.
    With `built_in`, the kinds of installed packages are left out.
    """
    kinds = {what: _kinds(registry, built_in=built_in) for what, registry in REGISTRIES.items()}
    params = {kind.Params for named in kinds.values() for kind in named.values()}
    models = [JobSpec, *sorted(params, key=lambda model: model.__qualname__)]
    references, definitions = _definitions(models)
    for model in models:
        _admit_aliases(model, definitions[references[model]], f"#/$defs/{references[model]}")
    job = definitions.pop(references[JobSpec])
    job["properties"]["name"] |= {"pattern": f"^{NAME}$"}
    job["properties"]["members"] |= {"propertyNames": {"pattern": f"^{NAME}$"}, "minProperties": 1}
    for node in (job, *definitions.values()):
        _admit_variables(node)
    for node in definitions.values():
        if "kind" in node.get("properties", {}):
            node["properties"]["kind"] = {"description": "The kind's name."}
    chosen = {_slug(what): _choice(registry, kinds[what], references) for what, registry in REGISTRIES.items()}
    steps = AUGMENTATIONS.what
    chosen[_slug(steps)] = _mapping(
        kinds[steps], {name: references[kind.Params] for name, kind in kinds[steps].items()}, definitions
    )
    variable = {"type": "string", "pattern": VARIABLE, "description": "`${NAME}` or `${NAME:-default}`."}
    return {
        "$schema": DIALECT,
        "title": "Quorate job",
        **_linked(job),
        "$defs": {"variable": variable, **chosen, **{name: _linked(node) for name, node in definitions.items()}},
    }


def model_schema(model: type[BaseModel]) -> tuple[Node, dict[str, Node]]:
    """Return pydantic's schema of one model, and the definitions that it refers to, by name."""
    references, definitions = _definitions([model])
    return definitions[references[model]], definitions


def description_of(kind: object) -> str:
    """Return the first paragraph of a kind's docstring in one line."""
    return " ".join(inspect.cleandoc(getattr(kind, "__doc__", None) or "").split("\n\n")[0].split())


def _kinds(registry: Registry[Any], *, built_in: bool) -> dict[str, Any]:
    """Return the kinds by name, except kinds of installed packages that cannot be used."""
    kinds = {}
    for name in registry.names():
        with contextlib.suppress(OwnCodeError):
            kind = registry.get(f"{name}NAME" if name.endswith("/") else name)
            if not built_in or kind.__module__.partition(".")[0] == "quorate":
                kinds[name] = kind
    return kinds


def _slug(what: str) -> str:
    return what.replace(" ", "-")


def _definitions(models: list[type[BaseModel]]) -> tuple[dict[Any, str], dict[str, Node]]:
    """Return the name of each model's definition, and all definitions by name.

    Models with the same class name get different names.
    """
    references, schema = models_json_schema(
        [(model, "validation") for model in models], schema_generator=_WithoutTitles, ref_template="#/$defs/{model}"
    )
    definitions: dict[str, Node] = schema.get("$defs", {})
    definitions.pop("KindParams", None)  # unused: `kind_of` gives the schema of fields that hold a kind
    for node in definitions.values():
        node.pop("title", None)
        _tidy(node)
    return {model: node["$ref"].rpartition("/")[2] for (model, _), node in references.items()}, definitions


class _WithoutTitles(GenerateJsonSchema):
    """Omit titles: a title that repeats the key would hide the description in editors."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Node:
        return {}  # a user's own kind can have a type that JSON Schema cannot describe; allow any value


def _tidy(node: Any) -> None:
    """Write each description in one line."""
    for inner in _below(node):
        if isinstance(inner.get("description"), str):
            # Some descriptions refer to text below the tables in docs/jobs.md, which the schema does not contain.
            text = " ".join(inner["description"].split())
            inner["description"] = text.replace("; see below", "").replace(" See below.", "")


def _below(node: Any) -> Iterator[Node]:
    """Yield a schema and all schemas in it."""
    yield node
    for key in ("properties", "patternProperties"):
        for inner in node.get(key, {}).values():
            yield from _below(inner)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for inner in node.get(key, ()):
            yield from _below(inner)
    for key in ("items", "additionalProperties", "propertyNames"):
        if isinstance(node.get(key), Mapping):
            yield from _below(node[key])


def _admit_aliases(model: type[BaseModel], node: Node, path: str) -> None:
    """Add the aliases of the model's fields to its schema, which is at `path` in the whole schema."""
    for alias, name in aliases(model).items():
        node["properties"][alias] = {"description": f"Another name of `{name}`.", "$ref": f"{path}/properties/{name}"}


def _admit_variables(node: Node) -> None:
    """Allow `${NAME}` wherever a scalar is expected."""
    for inner in reversed(list(_below(node))):  # inner nodes first: outer nodes are replaced by copies
        named = [*inner.get("properties", {}).items()]
        for key, value in named:
            inner["properties"][key] = _or_variable(value)
        if isinstance(inner.get("items"), Mapping):
            inner["items"] = _or_variable(inner["items"])
        values = inner.get("additionalProperties")
        if isinstance(values, Mapping) and "kindOf" not in values:
            inner["additionalProperties"] = _or_variable(values)


def _or_variable(node: Any) -> Node:
    branches = node.get("anyOf", [node])
    if any(_takes_any_text(branch) for branch in branches) or not any(_is_scalar(branch) for branch in branches):
        return dict(node)
    about = {key: node[key] for key in ("description", "default") if key in node}
    plain = [{key: value for key, value in branch.items() if key not in about} for branch in branches]
    return {**about, "anyOf": [*plain, {"$ref": "#/$defs/variable"}]}


def _takes_any_text(node: Node) -> bool:
    return node.get("type") == "string" and not any(key in node for key in _LIMITS)


def _is_scalar(node: Node) -> bool:
    return node.get("type") in _SCALARS or any(key in node for key in _LIMITS)


def _linked(node: Node) -> Node:
    """Replace each field that holds a kind with a reference to the choice of kinds."""
    for inner in _below(node):
        if "kindsOf" in inner:
            inner.pop("type")
            inner["$ref"] = f"#/$defs/{_slug(inner.pop('kindsOf'))}"
        if "kindOf" in inner:
            inner["$ref"] = f"#/$defs/{_slug(inner.pop('kindOf'))}"
    return node


def _choice(registry: Registry[Any], kinds: Mapping[str, Any], references: Mapping[Any, str]) -> Node:
    """Return the schema of one kind of a registry: its name alone, or a mapping with its parameters."""
    alone = {name: kind for name, kind in kinds.items() if not _needs(kind.Params)}
    branches = [
        {
            "if": {"properties": {"kind": _named(name)}, "required": ["kind"]},
            "then": {"$ref": f"#/$defs/{references[kind.Params]}"},
        }
        for name, kind in kinds.items()
    ]
    mapping = {
        "type": "object",
        "properties": {"kind": _names(registry, kinds)},
        "required": ["kind"],
        "allOf": branches,
    }
    return {"anyOf": [_names(registry, alone), mapping]}


def _mapping(kinds: Mapping[str, Any], names: Mapping[str, str], definitions: Mapping[str, Node]) -> Node:
    """Return the schema of a mapping from kinds to their settings: true or false, the value of the main parameter, or a
    mapping."""
    properties = {}
    for name, kind in kinds.items():
        main = definitions[names[name]]["properties"][kind.main] if kind.main is not None else {}
        values = main.get("anyOf", [main] if kind.main is not None else [])
        plain = [
            {key: value for key, value in node.items() if key not in ("description", "default")} for node in values
        ]
        branches = [{"type": "boolean"}, {"const": 0}, *plain, {"$ref": f"#/$defs/{names[name]}"}]
        if (variable := {"$ref": "#/$defs/variable"}) not in branches:
            branches.append(variable)
        properties[name] = {"description": description_of(kind), "anyOf": branches}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _needs(model: type[BaseModel]) -> list[str]:
    return [name for name, field in model.model_fields.items() if field.is_required() and name != "kind"]


def _names(registry: Registry[Any], kinds: Mapping[str, Any]) -> Node:
    """Return the schema of a kind's name: a registered name, a user's own kind, or a variable."""
    known = [{**_named(name), "description": description_of(kind)} for name, kind in kinds.items()]
    own = {"type": "string", "pattern": OWN_KIND, "description": f"Your own {registry.what}, as `module:name`."}
    return {"anyOf": [*known, own, {"$ref": "#/$defs/variable"}]}


def _named(name: str) -> Node:
    return {"type": "string", "pattern": f"^{name}.+$"} if name.endswith("/") else {"const": name}
