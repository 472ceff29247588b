"""Find or compute the features that frozen networks extract from a job's images, before members learn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from quorate.data.extracted import Extracted
from quorate.data.features import Matrix
from quorate.data.table import Table
from quorate.errors import UserError
from quorate.execution.events import Event, Failed, Featured, OutOfTime, Stopped
from quorate.members.backbone import Backbone, Extractor, prepare
from quorate.plan.tasks import DataAddition, FeatureTask, FitTask, Plan, Task, Unit
from quorate.results.results import Results


class BackboneError(UserError):
    """The weights of a frozen network are not available."""

    def __init__(self, backbone: Backbone, message: str) -> None:
        super().__init__(message)
        self.backbone = backbone


@dataclass
class Extraction:
    """The features that some units require: those found, those missing, and those lost because their tasks failed."""

    plan: Plan
    weights: dict[Backbone, bytes]
    needed: tuple[FeatureTask, ...]
    found: dict[str, Matrix] = field(default_factory=dict)
    """Features by the key of the feature task."""
    lost: dict[Backbone, Failed | OutOfTime | Stopped] = field(default_factory=dict)
    _joined: dict[tuple[str, Backbone], Extracted] = field(default_factory=dict)
    """The vectors of all rows, by the part and the network."""

    @property
    def missing(self) -> list[FeatureTask]:
        """The missing tasks, one per key; two paths to the same weights share a key."""
        left = {task.key: task for task in self.needed if task.key not in self.found}
        return list(left.values())

    def on(self, event: Event) -> bool:
        """Handle an event of a feature task; return whether other units can begin or must end because of it."""
        assert isinstance(event.task, FeatureTask)
        backbones = {task.backbone for task in self.needed if task.key == event.task.key}
        if isinstance(event, Featured):
            self.found[event.task.key] = event.matrix
            return not backbones <= self._incomplete()
        if isinstance(event, OutOfTime | Stopped) or (isinstance(event, Failed) and event.final):
            for backbone in backbones:
                self.lost.setdefault(backbone, event)
            return True
        return False

    @property
    def networks(self) -> DataAddition:
        """The data for feature tasks, in addition to the images."""
        return DataAddition(backbones=self.weights)

    def vectors(self) -> DataAddition:
        """The data for the other tasks: the features of the networks that have all of them."""
        return DataAddition(train=self._found("train"), test=self._found("test"))

    def without(self, units: Iterable[Unit]) -> Iterator[Event]:
        """The final events of the tasks that cannot begin because their features are lost."""
        for task in (task for unit in units for task in unit.tasks):
            event = next((self.lost[backbone] for backbone in _asks(task) if backbone in self.lost), None)
            if isinstance(event, Failed):
                yield Failed(task, 1, event.status, f"the {event.task} failed: {event.message}", event.tail, event.log)
            elif isinstance(event, OutOfTime):
                yield OutOfTime(task, False, f"the {event.task} were not ready in time: {event.message}")
            elif event is not None:
                yield Stopped(task)

    def split(self, units: Iterable[Unit]) -> tuple[list[Unit], list[Unit]]:
        """The units that can begin, and those that wait for features; without those whose features are lost."""
        incomplete = self._incomplete()
        ready, waiting = [], []
        for unit in units:
            asked = {backbone for task in unit.tasks for backbone in _asks(task)}
            if not asked & incomplete:
                ready.append(unit)
            elif not asked & self.lost.keys():
                waiting.append(unit)
        return ready, waiting

    def _incomplete(self) -> set[Backbone]:
        """The networks that lack vectors."""
        return {task.backbone for task in self.needed if task.key not in self.found}

    def _found(self, part: Literal["train", "test"]) -> tuple[Extracted, ...]:
        data = self.plan.context.train if part == "train" else self.plan.context.test
        if data is None or isinstance(data.x, Table):
            return ()
        for backbone, weights in self.weights.items():
            pieces = [task.key for task in self.needed if task.backbone == backbone and task.part == part]
            if (part, backbone) not in self._joined and pieces and all(key in self.found for key in pieces):
                matrix = np.concatenate([self.found[key] for key in pieces])
                numerics = backbone.numerics(data.x.shape)
                identity = Extractor(backbone, data.x.shape, weights, numerics).identity
                self._joined[part, backbone] = Extracted(backbone, identity, matrix, weights)
        return tuple(joined for (name, _), joined in self._joined.items() if name == part)


def find_features(plan: Plan, units: Sequence[Unit], results: Results) -> Extraction:
    """Look up the features that `units` need in the store; raises `BackboneError` if weights are not available."""
    wanted: set[tuple[Backbone, str]] = set()
    for task in (task for unit in units for task in unit.tasks):
        for backbone in _asks(task):
            wanted |= {(backbone, part) for part in (("train", "test") if isinstance(task, FitTask) else ("test",))}
    return look_up(plan, tuple(task for task in plan.features if (task.backbone, task.part) in wanted), results)


def look_up(plan: Plan, needed: tuple[FeatureTask, ...], results: Results) -> Extraction:
    """Look up these features of a plan in the store; raises `BackboneError` if weights are not available."""
    weights = {backbone: _weights(backbone, plan) for backbone in dict.fromkeys(task.backbone for task in needed)}
    extraction = Extraction(plan, weights, needed)
    for key, matrix in ((task.key, results.features(task)) for task in extraction.missing):
        if matrix is not None:
            extraction.found[key] = matrix
    return extraction


@dataclass(frozen=True)
class FeatureSummary:
    """The feature tasks of one frozen network for one part of the images."""

    backbone: Backbone
    images: str
    tasks: tuple[FeatureTask, ...]
    finished: int
    """Number of finished tasks."""
    seconds: float
    """Estimated time of the unfinished tasks."""

    @property
    def rows(self) -> int:
        return sum(task.stop - task.start for task in self.tasks)


def summaries(plan: Plan, finished: Callable[[FeatureTask], bool]) -> list[FeatureSummary]:
    """Summaries of the feature tasks of a plan, in the order of the plan."""
    parts = dict.fromkeys((task.backbone, task.part) for task in plan.features)
    found = []
    for backbone, part in parts:
        tasks = tuple(task for task in plan.features if (task.backbone, task.part) == (backbone, part))
        left = [task for task in tasks if not finished(task)]
        images = "mirrored " * backbone.mirrored + ("training images" if part == "train" else "test images")
        found.append(FeatureSummary(backbone, images, tasks, len(tasks) - len(left), sum(task.cost for task in left)))
    return found


def _asks(task: Task) -> tuple[Backbone, ...]:
    """The frozen networks whose features a task requires."""
    if isinstance(task, FeatureTask):
        return ()
    fit = task if isinstance(task, FitTask) else task.fit
    return fit.params.frozen_backbones


def _weights(backbone: Backbone, plan: Plan) -> bytes:
    images = plan.context.train.x
    assert not isinstance(images, Table), "refused by the plan"
    try:
        return prepare(backbone, images.shape)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        advice = "; download them on a machine with access to the hub, and set weights to the file" * (
            backbone.weights == "hub"
        )
        raise BackboneError(
            backbone, f"the weights of {backbone.arch} are not available: {lines[0]}{advice}"
        ) from error
