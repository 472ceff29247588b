"""Advice for each kind of member against bias, variance, and folds that differ.

Names in backticks are keys of that kind. Class weights are not recommended here, because they distort the
probabilities and cost log-loss (docs/data.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class MemberTraits:
    """The properties that advice depends on: the kind of a member, its parameters, and its type of data."""

    kind: str = ""
    """Kind of member; empty for the ensemble."""
    params: Mapping[str, Any] = field(default_factory=dict)
    images: bool = False


@dataclass(frozen=True)
class Remedy:
    """Advice for a kind, by problem."""

    bias: str
    variance: str


_PIXELS = "train on the features of a frozen network (`features: timm/NAME`)"
_BOOSTED = "`patience` (stops at the lowest held-out loss), a smaller `learning_rate`"
_FOREST = Remedy(
    bias="smaller leaves (`min_samples_leaf`), another kind of member",
    variance="more rows, larger leaves (`min_samples_leaf`), fewer columns per split (`max_features`); a "
    "forest fits its training rows exactly by design",
)
_KINDS: Mapping[str, Remedy] = {
    "random_forest": _FOREST,
    "extra_trees": _FOREST,
    "gradient_boosting": Remedy(
        bias="more `iterations`, more `leaves`",
        variance=f"more rows, {_BOOSTED}, fewer `leaves`, more `l2`",
    ),
    "lightgbm": Remedy(
        bias="more `iterations`, more `leaves`",
        variance=f"more rows, {_BOOSTED}, fewer `leaves`, more `l2`",
    ),
    "xgboost": Remedy(
        bias="more `iterations`, a larger `max_depth`",
        variance=f"more rows, {_BOOSTED}, a smaller `max_depth`, more `l2`",
    ),
    "catboost": Remedy(
        bias="more `iterations`, a larger `depth`",
        variance=f"more rows, {_BOOSTED}, a smaller `depth`, more `l2`",
    ),
    "svm": Remedy(
        bias="a larger `C` or `gamma`, another `kernel`",
        variance="more rows, a smaller `C` or `gamma`",
    ),
    "logistic": Remedy(
        bias="a larger `C`; if this does not help, another kind of member, because this one is linear",
        variance="more rows, a smaller `C`",
    ),
    "knn": Remedy(bias="fewer `neighbours`", variance="more rows, more `neighbours`"),
    "sklearn": Remedy(
        bias="a more flexible or less regularized `estimator`",
        variance="more rows, a simpler or more regularized `estimator`",
    ),
    "naive_bayes": Remedy(
        bias="another kind of member: naive Bayes assumes independent columns",
        variance="more rows, a larger `smoothing`",
    ),
}
_OTHER = Remedy(
    bias="a more flexible model, less regularization, another kind of member",
    variance="more rows, a simpler model, more regularization",
)
_ENSEMBLE = Remedy(
    bias="better members: see the advice for each member below",
    variance="more rows, copies of the best member, other kinds of members; see also the advice for each member below",
)


def against_bias(recipe: MemberTraits) -> str:
    """Advice that lowers the training error."""
    return f"{_remedy(recipe).bias}; check that the target is realistic"


def against_variance(recipe: MemberTraits) -> str:
    """Advice that brings the validation error closer to the training error."""
    return _remedy(recipe).variance


def against_spread(recipe: MemberTraits) -> str:
    """Possible reasons for differing folds."""
    steadier = "training is unstable (try a lower `lr` or more `epochs`), or " if recipe.kind == "net" else ""
    return f"{steadier}folds contain different kinds of rows (`groups`, `time`), or there are few rows"


def _remedy(recipe: MemberTraits) -> Remedy:
    if not recipe.kind:
        return _ENSEMBLE
    if recipe.kind == "net":
        return _network(recipe)
    found = _KINDS.get(recipe.kind, _OTHER)
    if recipe.images and recipe.kind in _KINDS and not recipe.params.get("features"):
        return Remedy(f"{found.bias}, or {_PIXELS}", f"{found.variance}, or {_PIXELS}")
    return found


def _network(recipe: MemberTraits) -> Remedy:
    """Advice for networks; pretrained weights are suggested only for images and members without them."""
    pretrained = "pretrained weights (`arch: timm/NAME` with `weights: hub`)"
    start = [pretrained] if recipe.images and not recipe.params.get("weights") else []
    augment = recipe.params.get("augment")
    varied = ["more augmentation (`augment`)" if augment else "augmentation (`augment`)"] if recipe.images else []
    less = "less regularization (`weight_decay`, `dropout`)"
    more = "more regularization (`weight_decay`, `dropout`, `label_smoothing`)"
    return Remedy(
        bias=", ".join([*start, "more `epochs`", "a bigger `arch`", less]),
        variance=", ".join(["more rows", *start, *varied, more, "a smaller `arch`"]),
    )
