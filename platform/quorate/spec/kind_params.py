"""The parameters that kinds of data and kinds of members share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from quorate.registry import InvalidParams, KindParams
from quorate.registry.parameter_names import field_named
from quorate.spec.configuration import space_problems
from quorate.spec.nested_values import set_nested
from quorate.spec.problems import first_problem
from quorate.spec.search import SearchSpec
from quorate.spec.values import Bytes

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_NAME = rf"([A-Za-z0-9.-]{{1,253}}/)?{_LABEL}"
_LABEL_RULE = "use at most 63 letters, digits, '-', '_' and '.', and begin and end with a letter or digit"
"""As in Kubernetes, whose rules Ray's labels follow."""
ACCELERATOR_TYPE = "ray.io/accelerator-type"
"""The label that Ray gives to nodes with accelerators: their type, such as `H100`."""


def _label_value(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


TestOrigin = Literal["separate", "held out", "none"]
"""Where the test rows of a job come from: another source than the training rows, the training rows, or nowhere."""


class DatasetParams(KindParams):
    """The parameters of a data kind, as far as a job file is checked by them."""

    def test_origin(self) -> TestOrigin:
        """Return where the test rows come from; a kind whose parameters decide this overrides it."""
        return "separate"


class MemberParams(KindParams):
    """The parameters that members of every kind take."""

    copies: int = Field(1, ge=1, le=1000)
    """Number of members to train from this entry; they differ in their seeds."""
    cpus: float = Field(1, gt=0, allow_inf_nan=False)
    """Number of CPU cores per fit task; a network uses as many threads."""
    gpus: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["auto"] = "auto"
    """Number of accelerators per fit task; with a fraction, several tasks share one. `auto` estimates the fraction that
    a network occupies if there are accelerators, and is 0 otherwise and for other kinds."""
    memory: Bytes | Literal["auto"] = "auto"
    """Memory of the node that a fit task requires, in bytes or as `2GiB`; 0 requests none. `auto` estimates it, and
    corrects the estimate by what the first task of the member used."""
    needs: dict[str, Annotated[str, BeforeValidator(_label_value)]] = Field(default_factory=dict)
    """Labels of the nodes that a fit task can run on, such as `{accelerator: H100}`; `accelerator` is Ray's label
    `ray.io/accelerator-type`."""
    vary: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    """Values per parameter that the copies use in turn, such as `{lr: [0.01, 0.1]}`; dots separate nested names."""
    search: SearchSpec | None = None
    """Search better values of the parameters before the job is trained, or with `quorate tune`; see below."""

    @field_validator("needs")
    @classmethod
    def _are_labels(cls, needs: dict[str, str]) -> dict[str, str]:
        for name, value in needs.items():
            if not re.fullmatch(_LABEL_NAME, name):
                raise ValueError(f"{name!r} is not the name of a label: {_LABEL_RULE}")
            if not re.fullmatch(_LABEL, value):
                raise ValueError(f"{name}: {value!r} is not the value of a label: {_LABEL_RULE}")
        return needs

    @field_validator("vary")
    @classmethod
    def _by_fields(cls, vary: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return `vary` with the names of the fields, so that an alias gives the same member."""
        paths = [path.partition(".") for path in vary]
        renamed = [field_named(cls, key) + dot + rest for key, dot, rest in paths]
        if twice := {name for name in renamed if renamed.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} is given under two of its names; keep one of them")
        return dict(zip(renamed, vary.values(), strict=True))

    @model_validator(mode="after")
    def _every_copy_is_valid(self, info: ValidationInfo) -> Self:
        if self.vary and self.copies == 1:
            raise ValueError("vary requires at least 2 copies, but there is 1; set copies")
        for name in self.vary.keys() & {"kind", "copies", "cpus", "gpus", "memory", "needs", "vary", "search"}:
            raise ValueError(f"vary: {name} must be equal for all copies; remove it from vary, or add another member")
        for copy in range(self.copies if self.vary else 0):
            try:
                given = self._given(copy)
            except ValueError as error:
                raise ValueError(f"vary: {error}") from None
            try:
                made = type(self).model_validate(given, context=info.context)
            except (ValidationError, InvalidParams) as error:
                raise ValueError(f"vary: copy {copy + 1}: {first_problem(error, type(self), given)}") from None
            for path, values in self.vary.items():
                if isinstance(file := _value_at(made, path), Path):
                    values[copy % len(values)] = str(file)  # a path relative to the job file's folder
        return self

    @model_validator(mode="after")
    def _can_be_searched(self, info: ValidationInfo) -> Self:
        if self.search is None or (info.context or {}).get("read_before"):
            return self
        found = [
            InitErrorDetails(type="value_error", loc=loc, input=None, ctx={"error": ValueError(message)})
            for loc, message in space_problems(self)
        ]
        if found:
            error = ValidationError.from_exception_data(type(self).__name__, found)
            raise InvalidParams(type(self), error)
        return self

    def search_space(self) -> dict[str, Any]:
        """The space that `search` uses if it names none, as in a job file; empty if the kind has none."""
        return {}

    @property
    def accelerators(self) -> float:
        """Number of accelerators per fit task; 0 while `auto` is not resolved."""
        return 0.0 if self.gpus == "auto" else self.gpus

    @property
    def worker_range(self) -> tuple[int, int]:
        """The least and the largest number of processes that train one fit together, each with `cpus`, `gpus` and
        `memory`."""
        return (1, 1)

    @property
    def node_labels(self) -> tuple[tuple[str, str], ...]:
        """`needs` as sorted labels of nodes."""
        named = {ACCELERATOR_TYPE if name == "accelerator" else name: value for name, value in self.needs.items()}
        return tuple(sorted(named.items()))

    @property
    def most_epochs(self) -> int | None:
        """Maximum number of epochs of the member; None for a kind that cannot stop between epochs."""
        return None

    @property
    def stopping_metric(self) -> str | None:
        """The validation metric for early stopping; None for a kind that does not stop early."""
        return None

    @property
    def began_as(self) -> str | None:
        """The member whose seeds it has; None if they are its own."""
        return None

    def can_change(self, path: str) -> bool:
        """Whether a parameter can change while the member trains, so that `continuing` keeps what was learned."""
        return False

    def continuing(self, other: Self, *, member: str, until: int) -> Self:
        """This member, but trained as `other` up to an epoch, with the seeds of a member; for kinds whose parameters
        can change."""
        raise NotImplementedError(f"the parameters of {self.kind} cannot change during training")

    @property
    def pretraining(self) -> KindParams | None:
        """The pretraining of the member on images without labels; None without pretraining."""
        return None

    @property
    def frozen_backbones(self) -> tuple[Any, ...]:
        """The frozen networks (`members.backbone.Backbone`) whose feature vectors the member learns from."""
        return ()

    @property
    def best_backbones(self) -> Any:
        """The frozen networks (`members.best_backbones.BestBackbones`) from which the job still has to choose, or
        None."""
        return None

    def of_copy(self, copy: int) -> Self:
        """Return the parameters of one copy (from 0), with its values of `vary`."""
        return type(self).model_validate(self._given(copy)) if self.vary else self

    def _given(self, copy: int) -> dict[str, Any]:
        """Return the parameters as a job file with only this copy would contain them; raises `ValueError`."""
        given = self.model_dump(exclude={"vary", "search"}, exclude_unset=True)
        for path, values in self.vary.items():
            set_nested(given, path, values[copy % len(values)], self.default_of)
        return given

    def default_of(self, key: str) -> Any:
        """Return the default of a parameter as a job file would contain it."""
        default = getattr(self, key, None)
        if isinstance(default, KindParams):
            return {"kind": default.kind}
        return None if isinstance(default, BaseModel) else default


def _value_at(part: Any, path: str) -> Any:
    for key in path.split("."):
        part = getattr(part, key, None)
    return part
