"""Procedures: other ways to train a network than on its labels alone, named by a task and followed by a worker."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import nn

from quorate.data.dataset import Dataset
from quorate.training.augment import Augment
from quorate.training.context import TaskContext
from quorate.training.distillation import with_teacher
from quorate.training.loop import History, Labelled, LoopSettings, TrainingResult, fit_network
from quorate.training.range_test import log_spaced, sweep_network


class Procedure(Protocol):
    """What a fit does instead of the usual training. Its fields are part of the key of the task."""

    tests: ClassVar[bool]
    """Whether the fit also predicts the test rows of its data."""

    def identity(self) -> dict[str, Any]:
        """The name and the fields, as JSON values."""


class _Named:
    """Base class of procedures, which are dataclasses."""

    tests: ClassVar[bool] = True

    def identity(self) -> dict[str, Any]:
        return {"name": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class NetworkTraining:
    """The arguments of a training: a network, its labelled rows, and the settings and the learning rate of its
    parameters."""

    network: nn.Module
    rows: Dataset
    """The training rows."""
    train: Labelled
    valid: Labelled
    recipe: LoopSettings
    lr: float
    context: TaskContext

    def run(self, recipe: LoopSettings | None = None) -> TrainingResult:
        """Train in the usual way, with other settings if given."""
        return fit_network(
            self.network,
            train=self.train,
            valid=self.valid,
            n_classes=self.rows.n_classes,
            recipe=recipe or self.recipe,
            context=self.context,
        )


class LoopProcedure(Procedure, Protocol):
    """A procedure that runs the training loop with other settings."""

    def train(self, given: NetworkTraining) -> TrainingResult: ...


@dataclass(frozen=True)
class Distillation(_Named):
    """Learn from the teacher's predictions of the training rows (`Dataset.soft`) in addition to the labels."""

    temperature: float
    """Temperature of both predictions in the loss."""
    hard: float
    """Weight of the labels, 0 to 1."""
    views: int = 0
    """Number of views per image, or of mixtures per row of a table, among the training rows: all rows of one view
    before those of the next. They are already augmented, and include the job's unlabelled images. 0 for unchanged rows.
    """

    def train(self, given: NetworkTraining) -> TrainingResult:
        recipe, rows = given.recipe, given.rows
        assert rows.soft is not None, "a student requires a teacher's predictions"
        if self.views:  # already augmented
            recipe = replace(recipe, augment=recipe.augment and Augment(recipe.augment.mixing), parts=self.views)
        return given.run(
            with_teacher(
                recipe,
                rows.soft,
                temperature=self.temperature,
                hard=self.hard,
                device=given.context.numerics.device,
                labelled=rows.labelled,
            )
        )


@dataclass(frozen=True)
class Memorization(_Named):
    """Train until all validation rows are predicted correctly, with a loss below `loss` nats."""

    loss: float

    def reached(self, figures: dict[str, float]) -> bool:
        """Whether these are the metrics of a network that has memorized the rows."""
        return figures["valid_accuracy"] == 1 and figures["valid_loss"] < self.loss

    def train(self, given: NetworkTraining) -> TrainingResult:
        return given.run(replace(given.recipe, until=self.reached))


@dataclass(frozen=True)
class RangeSweep(_Named):
    """Train one batch at each of `steps` learning rates from `low` to `high`, until the loss diverges.

    The history has one entry per batch, with `lr` and `train_loss`. The network gets its first weights back.
    """

    low: float
    high: float
    steps: int
    tests: ClassVar[bool] = False

    def rates(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The learning rates (steps,)."""
        return log_spaced(self.low, self.high, self.steps)

    def train(self, given: NetworkTraining) -> TrainingResult:
        start = {name: tensor.clone() for name, tensor in given.network.state_dict().items()}
        found = sweep_network(
            given.network,
            rates=self.rates(),
            lr=given.lr,
            train=given.train,
            valid=given.valid,
            n_classes=given.rows.n_classes,
            recipe=given.recipe,
            context=given.context,
        )
        given.network.load_state_dict(start)
        history: History = [
            {"lr": float(rate), "train_loss": float(loss)} for rate, loss in zip(found.rates, found.losses, strict=True)
        ]
        return TrainingResult(history, dict)


@dataclass(frozen=True)
class WeightAverage(_Named):
    """Do not train: average the weights of finished networks. A single network stays as it is.

    With several, normalization statistics are computed again on the training rows.
    """

    networks: tuple[tuple[str, ...], ...]
    """The files of each network, as assets: `DIGEST/NAME`, where the digest is that of all files of the network."""
    tests: ClassVar[bool] = False
