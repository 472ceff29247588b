"""Several frozen networks in a job file: the job uses the best of them, or a member uses all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo

from quorate.members.backbone import Backbone
from quorate.members.weights_names import TIMM, arch_of_file
from quorate.registry import InvalidParams, KindParams


def _candidate(value: object) -> object:
    """Expand `timm/NAME`, or the path of a weights file that is named after its architecture."""
    if not isinstance(value, str | Path):
        return value
    if str(value).startswith(TIMM):
        return {"arch": str(value)}
    return {"arch": arch_of_file(Path(value)), "weights": value}


# The default of `keep` is an assumption, not a measurement.
class BestBackbones(KindParams):
    """The best of several frozen networks, by a linear probe on the training rows."""

    kind: Literal["best"] = "best"
    of: tuple[Annotated[Backbone, BeforeValidator(_candidate, json_schema_input_type=str | Backbone)], ...] = Field(
        min_length=1
    )
    """The networks to choose from: `timm/NAME`, weights files that are named after their architecture, or mappings as
    for a single network."""
    keep: int = Field(3, ge=1)
    """Number of networks that are used; each becomes a member of its own."""
    size: int | None = Field(None, ge=4, le=4096)
    """The `size` of the networks that do not set it."""

    @property
    def candidates(self) -> tuple[Backbone, ...]:
        """The different networks to choose from, with their size."""
        sized = (one if one.size is not None else one.model_copy(update={"size": self.size}) for one in self.of)
        return tuple(dict.fromkeys(sized))


class JoinedBackbones(KindParams):
    """Several frozen networks whose feature vectors are joined to one."""

    kind: Literal["joined"] = "joined"
    of: tuple[Annotated[Backbone, BeforeValidator(_candidate, json_schema_input_type=str | Backbone)], ...] = Field(
        min_length=2
    )
    """The networks: `timm/NAME`, weights files that are named after their architecture, or mappings as for a single
    network."""


def _one_or_several(value: object, info: ValidationInfo) -> object:
    if value is None or isinstance(value, Backbone | BestBackbones | JoinedBackbones):
        return value
    given = {"arch": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping):
        raise ValueError("should be a mapping of keys to values, or timm/NAME")
    models: dict[object, type[Backbone | BestBackbones | JoinedBackbones]] = {
        None: Backbone,
        "best": BestBackbones,
        "joined": JoinedBackbones,
    }
    if (kind := given.get("kind")) not in models:
        raise ValueError(
            f"kind: {kind!r} is not known; write `kind: best` or `kind: joined`, or leave kind out for one network"
        )
    model = models[kind]
    try:
        return model.model_validate(given, context=info.context)
    except ValidationError as error:  # of the branch that is meant, not of both
        raise InvalidParams(model, error) from None


FrozenNetworks = Annotated[
    Backbone | BestBackbones | JoinedBackbones,
    BeforeValidator(_one_or_several, json_schema_input_type=str | Backbone | BestBackbones | JoinedBackbones),
]
"""A frozen network, only its name to use the defaults, the best of several, or several together."""
