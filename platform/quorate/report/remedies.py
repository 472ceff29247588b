"""What helps a member against bias, variance and unsteady folds: advice by its kind.

The keys in backticks are keys of that kind. Class weights are no advice here: they bend the probabilities and cost
log-loss (docs/data.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class MemberTraits:
    """What advice depends on: the kind of a member, its values as the job has them, and what it learns from."""

    kind: str = ""
    """Empty for the ensemble."""
    params: Mapping[str, Any] = field(default_factory=dict)
    images: bool = False


@dataclass(frozen=True)
class Remedy:
    """What helps a kind against each problem, in words."""

    bias: str
    variance: str


_PIXELS = "learn from a frozen network's vectors (`features: timm/NAME`)"
_BOOSTED = "`patience`, which stops where the held-out loss is least, a smaller `learning_rate`"
_FOREST = Remedy(
    bias="smaller leaves (`min_samples_leaf`), another kind of member",
    variance="more rows, larger leaves (`min_samples_leaf`), fewer columns for each split (`max_features`); a "
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
        bias="a larger `C`; a linear model cannot do more, other kinds of members can",
        variance="more rows, a smaller `C`",
    ),
    "knn": Remedy(bias="fewer `neighbours`", variance="more rows, more `neighbours`"),
    "sklearn": Remedy(
        bias="a more flexible `estimator`, or less regularization of it",
        variance="more rows, a simpler `estimator`, or more regularization of it",
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
    bias="better members: see the advice for each of them below",
    variance="more rows, copies of the best member and other kinds of members; see the advice for each of them below",
)


def against_bias(recipe: MemberTraits) -> str:
    """What lowers the training error."""
    return f"{_remedy(recipe).bias}; check that the target is realistic"


def against_variance(recipe: MemberTraits) -> str:
    """What brings the validation error nearer to the training error."""
    return _remedy(recipe).variance


def against_spread(recipe: MemberTraits) -> str:
    """What makes folds more alike."""
    steadier = "training is unsteady (a lower `lr`, more `epochs`), or " if recipe.kind == "net" else ""
    return f"{steadier}folds hold different rows (`groups`, `time`), or there are few rows"


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
    """Pretrained weights and augmentation are for images, and advice only where the member has none."""
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
