"""Every registry, and the base of what a kind takes from a job file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializeAsAny, ValidationError, ValidationInfo

from quorate.registry import Registry

ARCHS: Registry[Any] = Registry("architecture", "quorate.training.archs")
COMBINERS: Registry[Any] = Registry("combiner", "quorate.ensemble.combiners")
DATASETS: Registry[Any] = Registry("data kind", "quorate.data.sources")
MEMBERS: Registry[Any] = Registry("member kind", "quorate.members")
OPTIMIZERS: Registry[Any] = Registry("optimizer", "quorate.training.optimizers")
SCHEDULES: Registry[Any] = Registry("schedule", "quorate.training.schedules")


class Spec(BaseModel):
    """A frozen part of a job file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


class KindParams(Spec):
    """What one kind takes: `kind` is its name in the registry, the rest are its parameters."""

    kind: str


class InvalidParams(ValueError):
    """The parameters of a kind are wrong: `model` says what it takes, `error` what it got."""

    def __init__(self, model: type[KindParams], error: ValidationError) -> None:
        super().__init__(str(error))
        self.model = model
        self.error = error


def kind_of(registry: Registry[Any], default: str | None = None) -> Any:
    """The pydantic type of a field that holds one kind of `registry`, with that kind's own parameters.

    The value is a mapping with the key `kind`, or the bare name where the defaults serve. Each
    registered class names its parameters' model in the attribute `Params`.
    """

    def resolve(value: object, info: ValidationInfo) -> object:
        if isinstance(value, KindParams):
            return value
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping):
            raise ValueError(f"expected the name of a {registry.what} or a mapping with the key 'kind'")
        kind = value.get("kind", default)
        if not isinstance(kind, str):
            choices = ", ".join(registry.names())
            raise ValueError(f"the key 'kind' is missing; choose from {choices}")
        model: type[KindParams] = registry.get(kind).Params
        try:
            return model.model_validate({**value, "kind": kind}, context=info.context)
        except ValidationError as error:
            raise InvalidParams(model, error) from None

    return Annotated[SerializeAsAny[KindParams], BeforeValidator(resolve)]
