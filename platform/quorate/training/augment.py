"""Augmentation of training images: the augmentations of a job file, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import (
    ConfigDict,
    GetJsonSchemaHandler,
    RootModel,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, PydanticUndefined

from quorate.registry import AUGMENTATIONS, InvalidParams, KindParams

_SWITCHES: dict[object, bool] = {"true": True, "false": False, "0": False}
"""Values of environment variables that stand for `true`, `false` or 0."""


class Augment(RootModel[tuple[SerializeAsAny[KindParams], ...]]):
    """Augmentations in the order in which they are applied.

    In a job file they are a mapping by name. `true` uses a kind's defaults, a number or text sets its main parameter,
    and a mapping sets all of its parameters; `false` or 0 leaves the kind out.
    """

    model_config = ConfigDict(frozen=True)

    root: tuple[SerializeAsAny[KindParams], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        if value is PydanticUndefined:  # `Augment()`
            return ()
        if isinstance(value, tuple | Augment):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"must be a mapping from augmentations to their parameters, not {value!r}")
        steps: list[KindParams] = []
        wrong: list[InitErrorDetails] = []
        for name, given in value.items():
            try:
                step = _step(str(name), given, info)
            except ValueError as error:
                details = PydanticCustomError("value_error", "{error}", {"error": error})
                wrong.append(InitErrorDetails(type=details, loc=(name,), input=given))
            else:
                steps += [step] if step is not None else []
        if wrong:
            raise InvalidParams(KindParams, ValidationError.from_exception_data("augment", wrong))
        return _crop_first(steps)

    @model_serializer
    def _as_mapping(self) -> dict[str, Any]:
        return {step.kind: step.model_dump(mode="json", exclude={"kind"}) for step in self.root}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "object", "kindsOf": AUGMENTATIONS.what}  # `spec.schema` replaces this by the kinds

    def __bool__(self) -> bool:
        return bool(self.root)

    def __str__(self) -> str:
        """Format it like in a job file: `crop: 2, mirror: true`."""
        return ", ".join(f"{step.kind}: {_value_of(step)}" for step in self.root)

    @property
    def mixing(self) -> tuple[KindParams, ...]:
        """The augmentations that mix the rows of a batch, and their labels."""
        return tuple(step for step in self.root if AUGMENTATIONS.get(step.kind).mixes)

    @property
    def flags(self) -> dict[str, Any] | None:
        """The augmentations in their oldest form, `{mirror: true, crop: PIXELS}`; None if that form cannot express
        them."""
        flags: dict[str, Any] = {}
        for step in self.root:
            chosen = _chosen(step)
            if step.kind == "mirror" and not chosen:
                flags["mirror"] = True
            elif step.kind == "crop":
                flags["crop"] = dict(step)["pixels"]
            else:
                return None
        return flags

    def __call__(self, pixels: torch.Tensor, generator: torch.Generator, *, shared: int | None = None) -> torch.Tensor:
        """Map uint8 (n, H, W, C) to the same shape; all draws derive from the CPU generator `generator`.

        With `shared`, the number of a pass over the data, every image gets the same draw, whatever n is. Augmentations
        that mix rows are applied by `quorate.training.mixing`.
        """
        for step in self.root:
            kind = AUGMENTATIONS.get(step.kind)
            if not kind.mixes:
                pixels = kind.apply(step, pixels, generator, shared=shared)
        return pixels

    def check(self, shape: tuple[int, int, int]) -> None:
        """Raise `ValueError` if these augmentations cannot be applied to images of shape (H, W, C)."""
        for step in self.root:
            try:
                AUGMENTATIONS.get(step.kind).check(step, shape)
            except ValueError as error:
                raise ValueError(f"{step.kind}: {error}") from None


def _step(name: str, given: Any, info: ValidationInfo) -> KindParams | None:
    """Parse the parameters of one augmentation; None if it is left out."""
    kind = AUGMENTATIONS.get(name)
    model: type[KindParams] = kind.Params
    if isinstance(given, str):
        given = _SWITCHES.get(given.strip().lower(), given)
    if given is None:
        raise ValueError(f"is empty; write `{name}: true` for the defaults, or `{name}: false` to leave it out")
    if isinstance(given, bool | int | float) and not given:
        return None
    if given is True:
        given = {}
    elif not isinstance(given, Mapping):
        if kind.main is None:
            keys = [key for key in model.model_fields if key != "kind"]
            raise ValueError(f"{given!r} is neither true nor a mapping (keys: {', '.join(keys) or 'none'})")
        given = {kind.main: given}
    try:
        return model.model_validate({**given, "kind": given.get("kind", name)}, context=info.context)
    except ValidationError as error:
        raise InvalidParams(model, error) from None


def _crop_first(steps: list[KindParams]) -> tuple[KindParams, ...]:
    """Move a crop that follows a mirror before it: the shifts are symmetric, so both orders are equivalent."""
    for place in range(len(steps) - 1):
        if [step.kind for step in steps[place : place + 2]] == ["mirror", "crop"]:
            steps[place : place + 2] = reversed(steps[place : place + 2])
    return tuple(steps)


def _chosen(step: KindParams) -> dict[str, Any]:
    """Return the parameters that differ from their defaults."""
    fields = type(step).model_fields
    return {name: value for name, value in step if name != "kind" and value != fields[name].default}


def _value_of(step: KindParams) -> str:
    main, chosen = AUGMENTATIONS.get(step.kind).main, _chosen(step)
    if not chosen.keys() - {main}:
        value = dict(step)[main] if main is not None else True
        return _value(value) if chosen or isinstance(value, int | float) else "true"
    return "{" + ", ".join(f"{name}: {_value(value)}" for name, value in chosen.items()) + "}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else str(value)
