"""Define all registries, and the base model for the parameters of a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)

from quorate.registry.registry import Registry

ARCHS: Registry[Any] = Registry(
    "architecture", "quorate.training.archs", group="quorate.archs", adopt="quorate.training.own:adopt_arch"
)
AUGMENTATIONS: Registry[Any] = Registry("augmentation", "quorate.training.augmentations")
CALIBRATIONS: Registry[Any] = Registry("calibration", "quorate.ensemble.calibrations")
COMBINERS: Registry[Any] = Registry(
    "combiner", "quorate.ensemble.combiners", group="quorate.combiners", adopt="quorate.ensemble.own:adopt_combiner"
)
DATASETS: Registry[Any] = Registry(
    "data kind", "quorate.data.sources", group="quorate.datasets", adopt="quorate.data.own:adopt_dataset"
)
INITIALIZATIONS: Registry[Any] = Registry(
    "initialization",
    "quorate.training.initializations",
    group="quorate.initializations",
    adopt="quorate.training.own:adopt_initialization",
)
MEMBERS: Registry[Any] = Registry(
    "member kind", "quorate.members", group="quorate.members", adopt="quorate.members.own:adopt_member"
)
OPTIMIZERS: Registry[Any] = Registry(
    "optimizer", "quorate.training.optimizers", group="quorate.optimizers", adopt="quorate.training.own:adopt_optimizer"
)
PRETRAININGS: Registry[Any] = Registry(
    "pretraining",
    "quorate.training.pretraining",
    group="quorate.pretrainings",
    adopt="quorate.training.own:adopt_pretraining",
)
SCHEDULES: Registry[Any] = Registry(
    "schedule", "quorate.training.schedules", group="quorate.schedules", adopt="quorate.training.own:adopt_schedule"
)
_ALL: tuple[Registry[Any], ...] = (
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
)
REGISTRIES = {registry.what: registry for registry in _ALL}
"""All registries by their `what`, such as `member kind`."""


class Spec(BaseModel):
    """A frozen part of a job file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


class KindParams(Spec):
    """The parameters of one kind; `kind` is the kind's name in the registry."""

    needs_package: ClassVar[str] = ""
    """The optional package that the kind requires; empty if there is none."""
    kind: str

    def __hash__(self) -> int:  # pydantic's own `__hash__` fails for lists and mappings
        return hash((type(self), self.model_dump_json()))


def own_reference(params: KindParams) -> str | None:
    """Return the `module:name` reference of the user's own kind that `params` belongs to; None for a built-in kind.
    `params` must have been validated in this process."""
    for registry in REGISTRIES.values():
        for name, reference, kind in registry.adopted():
            if name == params.kind and kind.Params is type(params):
                return reference
    return None


class InvalidParams(ValueError):
    """A part of a job file is invalid: `model` is the expected model, `error` is pydantic's error."""

    def __init__(self, model: type[BaseModel], error: ValidationError) -> None:
        super().__init__(str(error))
        self.model = model
        self.error = error


def kind_of(registry: Registry[Any]) -> Any:
    """Return the pydantic type of a field that holds one kind of `registry`, with the parameters of that kind.

    The value is a mapping with the key `kind`, or the name alone to use the defaults. The attribute `Params` of each
    registered class is the model of its parameters.
    """

    def resolve(value: object, info: ValidationInfo) -> object:
        if isinstance(value, KindParams):
            return value
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping):
            raise ValueError(f"expected the name of a {registry.what} or a mapping with the key 'kind'")
        kind = value.get("kind")
        if not isinstance(kind, str):
            choices = ", ".join(registry.names())
            raise ValueError(f"the key 'kind' is missing; choose from {choices}")
        model: type[KindParams] = registry.get(kind).Params
        try:
            return model.model_validate({**value, "kind": kind}, context=info.context)
        except ValidationError as error:
            raise InvalidParams(model, error) from None

    return Annotated[
        SerializeAsAny[KindParams],
        BeforeValidator(resolve),
        WithJsonSchema({"kindOf": registry.what}),  # `spec.schema` replaces it with the schemas of the kinds
    ]
