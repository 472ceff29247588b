"""The JSON Schema of a job file, from the models of its parts and of every registered kind."""

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
from quorate.spec.job import NAME, JobSpec

Node = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
OWN_KIND = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"
"""A user's own kind, `module:name`; what it takes is known to its module only."""
VARIABLE = r"\$\{\w+(:-[^}]*)?\}"
"""What the loader expands, anywhere in a text."""

_SCALARS = {"integer", "number", "boolean"}
_LIMITS = ("enum", "const", "pattern", "minLength", "maxLength")


def job_schema(*, built_in: bool = False) -> Node:
    """The schema (draft 2020-12) of a whole job file, for editors and other programs.

    A kind is its bare name, where it needs nothing else, or a mapping whose key `kind` decides what else it holds.
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
    """The schema of one model as pydantic has it, and those that it refers to by name."""
    references, definitions = _definitions([model])
    return definitions[references[model]], definitions


def description_of(kind: object) -> str:
    """The first paragraph of a kind's docstring, in one line."""
    return " ".join(inspect.cleandoc(getattr(kind, "__doc__", None) or "").split("\n\n")[0].split())


def _kinds(registry: Registry[Any], *, built_in: bool) -> dict[str, Any]:
    """The kinds by name, without those of installed packages that cannot be used."""
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
    """The name of each model's definition, and all definitions by name; models of one name get names of their own."""
    references, schema = models_json_schema(
        [(model, "validation") for model in models], schema_generator=_WithoutTitles, ref_template="#/$defs/{model}"
    )
    definitions: dict[str, Node] = schema.get("$defs", {})
    definitions.pop("KindParams", None)  # the base, where `kind_of` has put what it really takes
    for node in definitions.values():
        node.pop("title", None)
        _tidy(node)
    return {model: node["$ref"].rpartition("/")[2] for (model, _), node in references.items()}, definitions


class _WithoutTitles(GenerateJsonSchema):
    """A title that repeats the key would hide the description in editors."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Node:
        return {}  # a type of a user's own kind that JSON has no word for: anything


def _tidy(node: Any) -> None:
    """Descriptions in one line."""
    for inner in _below(node):
        if isinstance(inner.get("description"), str):
            # What the reference of job files has below its tables does not stand here.
            inner["description"] = " ".join(inner["description"].split()).replace("; see below", "")


def _below(node: Any) -> Iterator[Node]:
    """A schema and all schemas in it."""
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
    """Add the other names of the model's fields to its schema, which is at `path` in the whole one."""
    for alias, name in aliases(model).items():
        node["properties"][alias] = {"description": f"Another name of `{name}`.", "$ref": f"{path}/properties/{name}"}


def _admit_variables(node: Node) -> None:
    """`${NAME}` wherever a scalar is wanted."""
    for inner in reversed(list(_below(node))):  # what is inside first: a node is replaced by one around it
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
    """The schema with the choice of kinds wherever a field holds one."""
    for inner in _below(node):
        if "kindsOf" in inner:
            inner.pop("type")
            inner["$ref"] = f"#/$defs/{_slug(inner.pop('kindsOf'))}"
        if "kindOf" in inner:
            inner["$ref"] = f"#/$defs/{_slug(inner.pop('kindOf'))}"
            default = inner.pop("defaultKind")
            assert default is None, "a schema with a kind by default would need a branch of its own"
    return node


def _choice(registry: Registry[Any], kinds: Mapping[str, Any], references: Mapping[Any, str]) -> Node:
    """One kind of a registry: its bare name, or a mapping with its parameters."""
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
    """Several kinds of a registry by their names: each a switch, the value of its main parameter, or a mapping."""
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
    """The name of a kind: one that is known, a user's own, or what a variable holds."""
    known = [{**_named(name), "description": description_of(kind)} for name, kind in kinds.items()]
    own = {"type": "string", "pattern": OWN_KIND, "description": f"Your own {registry.what}, as `module:name`."}
    return {"anyOf": [*known, own, {"$ref": "#/$defs/variable"}]}


def _named(name: str) -> Node:
    return {"type": "string", "pattern": f"^{name}.+$"} if name.endswith("/") else {"const": name}
