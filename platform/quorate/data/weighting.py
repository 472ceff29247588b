"""Weight the training rows: by row weights of the data, by class weights, and by sampling that balances the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from quorate.data.dataset import Dataset, Rows
from quorate.registry import MEMBERS, did_you_mean
from quorate.spec import MemberParams

Weights = NDArray[np.float32]
"""The weight of each row (N,)."""


def _names_as_text(value: object) -> object:
    """Convert class names to text, because YAML reads some of them as numbers."""
    return {str(name): weight for name, weight in value.items()} if isinstance(value, Mapping) else value


class WeightingParams(MemberParams):
    """Parameters of all built-in members; the attributes `weighs` and `resamples` of a member's class declare what it
    supports."""

    class_weight: (
        Literal["balanced"]
        | Annotated[
            dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]],
            BeforeValidator(_names_as_text),
            Field(min_length=1),
        ]
        | None
    ) = None
    """Factor for the weight of each row, by its class: a mapping of class names to numbers (1 for classes not listed),
    or `balanced` to give all classes the same total weight."""
    sampling: Literal["balanced"] | None = None
    """`balanced` draws as many rows as there are training rows, with the same number per class: anew in each epoch for
    networks, once for other members."""

    @model_validator(mode="after")
    def _balances_once(self) -> WeightingParams:
        if self.class_weight == "balanced" and self.sampling == "balanced":
            raise ValueError("class_weight: balanced and sampling: balanced serve the same purpose; remove one of them")
        return self


def row_weights(data: Dataset, params: WeightingParams) -> Weights | None:
    """Return the weight of each training row, or None if all are equal.

    `balanced` uses scikit-learn's formula: total weight of all rows / (number of present classes x total weight of the
    class).
    """
    given = data.weight if _differ(data) else None
    if params.class_weight is None:
        return given
    own = np.ones(len(data)) if given is None else given.astype(np.float64)
    if params.class_weight == "balanced":
        totals = np.bincount(data.y, weights=own, minlength=data.n_classes)
        factors = totals.sum() / (np.count_nonzero(totals) * np.where(totals > 0, totals, 1))
    else:
        factors = np.array([params.class_weight.get(name, 1.0) for name in data.class_names])
    weights: Weights = (own * factors[data.y]).astype(np.float32)
    return weights


def balanced_rows(y: NDArray[np.int64], *, seed: int) -> Rows:
    """Return `len(y)` shuffled positions with the same number per class (a remainder goes to some of the classes). No
    row of a large class is drawn twice; rows of a small class repeat only after all of them are drawn.
    """
    random = np.random.default_rng(seed)
    classes = random.permutation(np.unique(y))
    drawn = []
    for place, label in enumerate(classes):
        share = len(y) // len(classes) + (place < len(y) % len(classes))
        own = np.flatnonzero(y == label)
        rounds = [random.permutation(own) for _ in range(-(-share // len(own)))]
        drawn.append(np.concatenate(rounds)[:share] if rounds else own[:0])
    return random.permutation(np.concatenate(drawn)).astype(np.int64)


def check_weighting(kind: Any, params: MemberParams, data: Dataset) -> None:
    """Raise `ValueError` if a member of this kind cannot weight or resample the rows of `data` as its parameters
    require."""
    asked = params if isinstance(params, WeightingParams) else WeightingParams(kind=params.kind)
    if isinstance(asked.class_weight, Mapping):
        for name in asked.class_weight:
            if name not in data.class_names:
                classes = list(data.class_names)
                raise ValueError(
                    f"class_weight: there is no class {name!r}{did_you_mean(name, classes)} "
                    f"(the classes are {', '.join(classes[:20])}{', …' * (len(classes) > 20)})"
                )
    weights = "class_weight" if asked.class_weight else "the data's weights" if _differ(data) else None
    if weights and not kind.weighs:
        others = _kinds_that(lambda each: each.weighs)
        raise ValueError(f"{params.kind} cannot use sample weights ({weights}); {others} can")
    if asked.sampling and not kind.resamples:
        raise ValueError(
            f"sampling: {params.kind} splits off validation rows itself, and a row that is drawn twice could be on "
            f"both sides of this split; use class_weight, or one of {_kinds_that(lambda each: each.resamples)}"
        )


def _differ(data: Dataset) -> bool:
    """Return whether the rows have different weights; equal weights have no effect."""
    return data.weight is not None and bool((data.weight != data.weight[:1]).any())


def _kinds_that(can: Callable[[Any], bool]) -> str:
    return ", ".join(name for name in MEMBERS.names() if can(MEMBERS.get(name)))
