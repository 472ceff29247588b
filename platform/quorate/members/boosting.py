"""Code that boosted trees share: parameters, held-out rows for early stopping, and the classes of the fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from quorate.data.dataset import Dataset
from quorate.data.features import Encoding, Matrix
from quorate.data.standardize import Scheme
from quorate.data.weighting import Weights, balanced_rows
from quorate.members.held_out import hold_out
from quorate.members.learner import Learner, LearnerParams
from quorate.registry.parameter_names import named
from quorate.training.context import TaskContext


def _patience_alone(value: object) -> object:
    """Extract the rounds from `early_stopping: {patience: 30}`, the form used for networks."""
    return value["patience"] if isinstance(value, Mapping) and value.keys() == {"patience"} else value


# `learning_rate` and `held_out` have the defaults of scikit-learn's gradient boosting (`validation_fraction`). The
# defaults of `iterations` and `patience` are assumptions, not measurements.
class BoostingParams(LearnerParams):
    """Parameters that all boosted trees share."""

    standardize: Scheme = "none"
    """Trees do not need standardization."""
    iterations: int = Field(
        1000,
        ge=1,
        le=100_000,
        validation_alias=named(
            "iterations",
            "rounds",
            "epochs",
            "n_estimators",
            "num_boost_round",
            "max_iter",
            "num_iterations",
            "num_trees",
        ),
    )
    """Maximum number of boosting rounds; each adds one tree, or one tree per class with three or more classes."""
    learning_rate: float = Field(0.1, gt=0, le=1, validation_alias=named("learning_rate", "lr", "eta"))
    """Factor by which each tree's contribution is multiplied."""
    patience: Annotated[
        Annotated[int, Field(ge=1)] | None,
        BeforeValidator(
            _patience_alone,
            json_schema_input_type=Annotated[int, Field(ge=1)] | dict[Literal["patience"], int] | None,
        ),
    ] = Field(
        30,
        validation_alias=named("patience", "early_stopping", "early_stopping_rounds", "n_iter_no_change", "od_wait"),
    )
    """Number of rounds without improvement on the held-out rows after which boosting stops; `null` runs all rounds and
    holds out no rows."""
    held_out: float = Field(0.1, gt=0, lt=1, validation_alias=named("held_out", "validation_fraction"))
    """Fraction of the fold's training rows that is held out for `patience`; the fold's validation rows are not used for
    stopping, so their predictions stay unbiased."""

    def search_space(self) -> dict[str, Any]:
        return {"learning_rate": "log_uniform(0.01, 0.3)"}


@dataclass(frozen=True)
class BoostingRows:
    """Features (n, width), positions in the fold's classes (n,), and weights (n,) or None."""

    x: Matrix
    y: NDArray[np.int64]
    weight: Weights | None


class Boosting(Learner):
    """A sequence of trees, each of which corrects the sum of the trees before it (Friedman, 2001)."""

    Params: ClassVar[type[LearnerParams]] = BoostingParams
    encoding: ClassVar[Encoding] = "ordinal"
    _classes: NDArray[np.int64]

    @property
    def classes(self) -> NDArray[np.int64]:
        return self._classes

    @property
    def categories(self) -> list[int]:
        """Positions of the categorical features; they come last."""
        return list(range(self.features.width - len(self.features.cardinalities), self.features.width))

    def boost(self, train: BoostingRows, held: BoostingRows | None, *, seed: int, threads: int) -> None:
        """Fit `self.model`; with `held`, stop when it no longer improves."""
        raise AssertionError("each kind has its own")

    def write_booster(self, folder: Path) -> None:
        super().write_model(folder)

    def read_booster(self, folder: Path) -> None:
        super().read_model(folder, {})

    def learn(self, x: Matrix, train: Dataset, *, weight: Weights | None, context: TaskContext) -> None:
        p, seed = self.params, context.seed % 2**31
        self._classes, y = np.unique(train.y, return_inverse=True)
        kept, held = np.arange(len(y)), np.arange(0)
        if p.patience is not None:
            kept, held = hold_out(y, fraction=p.held_out, seed=seed, groups=train.groups)
        if p.sampling:
            kept = kept[balanced_rows(y[kept], seed=seed)]

        def part(rows: NDArray[np.int64]) -> BoostingRows:
            return BoostingRows(x[rows], y[rows], None if weight is None else weight[rows])

        self.boost(part(kept), part(held) if len(held) else None, seed=seed, threads=context.numerics.threads)

    def write_model(self, folder: Path) -> dict[str, Any]:
        self.write_booster(folder)
        return {"classes": self._classes.tolist()}

    def read_model(self, folder: Path, saved: dict[str, Any]) -> None:
        self._classes = np.array(saved["classes"], np.int64)
        self.read_booster(folder)


def both_classes(proba: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return (n, 2) from the probabilities (n,) of the second of two classes, and (n, k) unchanged."""
    return np.column_stack([1 - proba, proba]) if proba.ndim == 1 else proba


def boosting_cost(params: Any, *, size: int, rows: int, n_classes: int) -> float:
    """Estimate the seconds of one fit of `gradient_boosting` on one core, for rows of `size` values."""
    rounds = float(params.iterations)
    if params.patience is not None:
        # LightGBM's best round times its learning rate, with rates of .05 and .1: 3.4 to 5.3 on 340 to 430 rows
        # (vehicle, soybean), 4.5 to 8.5 on 1,600 (dna), 5.2 on 3,200 (satellite), 13 to 19 on 23,000 (Adult).
        rounds = min(rounds, (4 + rows / 2000) / params.learning_rate + params.patience)
    # Measured with 31 leaves: .47 s for 100 trees on 16,000 rows of 14 columns, 2.3 s for 50 trees on 3,600 rows of
    # 784, .36 s for 200 trees on 1,000 rows of 64.
    return rounds * (n_classes if n_classes > 2 else 1) * (5e-4 + 2e-8 * rows * size)
