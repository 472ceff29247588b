"""Code that forests share: parameters, costs, and the check of a loaded tree."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from quorate.data.dataset import Dataset
from quorate.data.features import Encoding, Matrix
from quorate.data.signature import Signature
from quorate.data.standardize import Scheme
from quorate.data.weighting import Weights
from quorate.members.inner_validation import FOLDS, MANY_ROWS, InnerSplit, held_out_losses, inner_splits, mean_loss
from quorate.members.learner import Learner, LearnerParams
from quorate.registry.parameter_names import named
from quorate.training.context import MemoryUse, Numerics, TaskContext

Share = str | float
"""Number of features that are tried at each split: `sqrt`, `log2`, or a fraction of all features."""
Shape = tuple[int, Share]
"""`min_samples_leaf` and `max_features`."""

TRIAL_TREES = 100
"""Maximum number of trees of a forest that is only trained to compare shapes. An assumption, not a measurement."""


# `min_samples_leaf` has scikit-learn's default. The default of `trees` is an assumption, not a measurement.
class ForestParams(LearnerParams):
    """Parameters that all forests share."""

    standardize: Scheme = "none"
    """Trees do not need standardization."""
    trees: int = Field(300, ge=1, le=100_000, validation_alias=named("trees", "n_estimators"))
    """Number of trees."""
    max_depth: int | None = Field(None, ge=1)
    """Maximum depth of a tree; by default unlimited."""
    min_samples_leaf: Literal["auto"] | Annotated[int, Field(ge=1)] = 1
    """Minimum number of rows per leaf. `auto` chooses it, with `max_features`, on held-out parts of the fold's training
    rows."""
    max_features: Literal["auto", "sqrt", "log2"] | Annotated[float, Field(gt=0, le=1)] = "sqrt"
    """Number of features that are tried at each split: a rule, or a fraction of all features. `auto` chooses it like
    `min_samples_leaf`."""
    smoothing: float = Field(0.0, ge=0)
    """Number of votes that are spread evenly over the classes and added to those of the trees, so that no class has the
    probability 0."""

    def search_space(self) -> dict[str, Any]:
        return {
            "min_samples_leaf": "log_int(1, 20)",
            "max_features": "uniform(0.05, 1)",
            "smoothing": "uniform(0, 3)",
        }


class Forest(Learner):
    """Trees whose votes are averaged."""

    Params: ClassVar[type[LearnerParams]] = ForestParams
    shapes: ClassVar[tuple[Shape, ...]]
    """The shapes that `auto` tries; the first one is used if no rows can be held out."""
    encoding: ClassVar[Encoding] = "ordinal"
    trusted: ClassVar[tuple[str, ...]] = ("sklearn.tree._tree.Tree",)

    def __init__(self, params: Any, *, signature: Signature, n_classes: int) -> None:
        super().__init__(params, signature=signature, n_classes=n_classes)
        self.shape: Shape = self._candidates(params)[0]

    @classmethod
    def _candidates(cls, params: Any) -> tuple[Shape, ...]:
        """Return the shapes to choose from, with the values that the parameters set."""
        leaf, share = params.min_samples_leaf, params.max_features
        return tuple(
            dict.fromkeys(
                (each if leaf == "auto" else leaf, part if share == "auto" else share) for each, part in cls.shapes
            )
        )

    def learn(self, x: Matrix, train: Dataset, *, weight: Weights | None, context: TaskContext) -> None:
        candidates = self._candidates(self.params)
        if "auto" in (self.params.min_samples_leaf, self.params.max_features):
            seed = context.seed % 2**32
            splits = inner_splits(x, train, weight=weight, seed=seed, balanced=self.params.sampling is not None)
            if splits:
                self.shape = min(candidates, key=lambda shape: self._loss(shape, splits, seed=seed))
            leaf, share = self.shape
            self.chosen = {"min_samples_leaf": leaf, "max_features": features_per_split(share, x.shape[1])}
        super().learn(x, train, weight=weight, context=context)

    def _loss(self, shape: Shape, splits: tuple[InnerSplit, ...], *, seed: int) -> float:
        """Return the mean held-out log-loss of small forests of this shape, at their best temperatures."""
        losses = []
        for split in splits:
            trees = min(self.params.trees, TRIAL_TREES)
            forest = split.fit.fit(self.forest(**self._options(shape, trees=trees, seed=seed)))
            proba = smoothed(forest.predict_proba(split.held.x), trees=trees, votes=self.params.smoothing)
            losses.append(held_out_losses(proba, forest.classes_, split.held, tempered=True))
        return mean_loss(losses)

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        # 300 trees on 8,000 rows of 784 features took about 12 s on one core. With half or all of the features per
        # split instead of `sqrt`, six data sets took 1 to 5 times as long: about the root of the ratio.
        candidates, usual = cls._candidates(params), float(np.sqrt(signature.size))
        tree = 12 / 300 * rows * np.log2(rows) / (8000 * 13) * usual / 28
        once = [tree * np.sqrt(features_per_split(share, signature.size) / usual) for _, share in candidates]
        if len(candidates) == 1:
            return float(params.trees * once[0])
        tried = (1 - 1 / FOLDS) * (1 if rows >= MANY_ROWS else FOLDS) * min(params.trees, TRIAL_TREES)
        return float(params.trees * max(once) + tried * sum(once))

    @classmethod
    def memory_use(
        cls, params: Any, *, signature: Signature, rows: int, n_classes: int, numerics: Numerics
    ) -> MemoryUse:
        plain = super().memory_use(params, signature=signature, rows=rows, n_classes=n_classes, numerics=numerics)
        # A node has 64 bytes and a float64 for each class (sklearn.tree._tree). One node for two rows is an assumption.
        leaf = min(leaf for leaf, _ in cls._candidates(params))
        nodes = params.trees * rows / 2 / leaf
        return MemoryUse(plain.node + int(nodes * (64 + 8 * n_classes)))

    def forest(self, **options: Any) -> Any:
        """Return scikit-learn's estimator with these arguments."""
        raise AssertionError("each kind makes its own")

    def estimator(self, *, seed: int, y: NDArray[np.int64]) -> Any:
        return self.forest(**self._options(self.shape, trees=self.params.trees, seed=seed))

    def model_proba(self, x: Matrix) -> NDArray[np.floating[Any]]:
        return smoothed(super().model_proba(x), trees=len(self.model.estimators_), votes=self.params.smoothing)

    def _options(self, shape: Shape, *, trees: int, seed: int) -> dict[str, Any]:
        leaf, share = shape
        return {
            "n_estimators": trees,
            "max_depth": self.params.max_depth,
            "min_samples_leaf": leaf,
            "max_features": share,
            "random_state": seed,
            "n_jobs": 1,  # more threads would add the trees' votes in a varying order
        }

    def check(self) -> None:
        features = self.features.width
        for tree in self.model.estimators_:
            check_tree(tree.tree_, features=features)


def features_per_split(share: Share, width: int) -> int:
    """Return the number of features that scikit-learn tries at each split, of `width` features."""
    if isinstance(share, str):
        return max(1, int({"sqrt": np.sqrt, "log2": np.log2}[share](width)))
    return max(1, int(share * width))


def smoothed(proba: NDArray[np.floating[Any]], *, trees: int, votes: float) -> NDArray[np.floating[Any]]:
    """Add `votes` that are spread evenly over the classes to those of the trees."""
    if not votes:
        return proba
    found: NDArray[np.floating[Any]] = (trees * proba + votes / proba.shape[1]) / (trees + votes)
    return found


def check_tree(tree: Any, *, features: int) -> None:
    """Raise `ValueError` if following the tree's indices would leave its arrays or never end."""
    nodes = np.arange(tree.node_count)
    left, right = tree.children_left, tree.children_right
    leaf = left == -1
    inside = (left > nodes) & (left < tree.node_count) & (right > nodes) & (right < tree.node_count)
    split = (tree.feature >= 0) & (tree.feature < features)
    if tree.node_count < 1 or not ((leaf & (right == -1)) | (inside & split)).all():
        raise ValueError("the saved forest is inconsistent: a tree refers to nodes or features that do not exist")
