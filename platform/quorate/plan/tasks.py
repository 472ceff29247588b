"""The tasks of a plan, the resources that they require, and the data that they all read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Dataset, Images
from quorate.data.extracted import Extracted, ExtractedImages
from quorate.data.folds import Folds, UnlearnableClass, learnable_rows, unlearnable_classes
from quorate.data.table import Table
from quorate.members.backbone import Backbone
from quorate.plan.identity import digest
from quorate.spec import MemberParams
from quorate.training.context import Hardware, MemoryUse, Numerics
from quorate.training.procedures import Procedure

ALL_ROWS = -1
"""The fold number of a task that trains on all rows; its `JobData` has only this fold."""


Labels = tuple[tuple[str, str], ...]
"""Names and values of Ray's labels, sorted."""


@dataclass(frozen=True)
class Resources:
    """Resources of one unit: cores, accelerators (a fraction shares one), memory in bytes, labels of its node.

    They are those of one worker, if a unit has several (`workers`).
    """

    cpus: float = 1
    gpus: float = 0
    memory: int = 0
    labels: Labels = ()
    """The labels that the node must have; a value `in(a,b)` allows several."""
    threads: int | None = None
    """Threads of the process, if it reserves more cores than it uses; None for one per core."""
    workers: tuple[int, int] = (1, 1)
    """The least and the largest number of workers that train the fit together."""

    @property
    def shared(self) -> bool:
        """Whether the unit has several workers, or can have."""
        return self.workers != (1, 1)

    @property
    def of_one(self) -> Resources:
        """The resources of a single worker."""
        return replace(self, workers=(1, 1))

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} cpu" + "s" * (self.cpus != 1)]
        parts += [f"{self.gpus:g} gpu" + "s" * (self.gpus != 1)] if self.gpus else []
        parts += [f"{self.memory / 2**30:.1f} GiB"] if self.memory else []
        parts += [f"{name}={value}" for name, value in self.labels]
        if not self.shared:
            return ", ".join(parts)
        least, most = self.workers
        number = str(least) if least == most else f"{least} to {most}"
        return f"{number} workers with {', '.join(parts)} each"


@dataclass(frozen=True)
class FitTask:
    """Fit one copy of a member on one fold; `key` is the hash of everything that determines the result."""

    key: str
    member: str
    copy: int
    fold: int
    label: str
    """The member's name in the ensemble: `cnn`, or `cnn.2` for the second of several copies."""
    params: MemberParams
    seed: int
    numerics: Numerics
    cost: float
    """Estimated seconds."""
    resources: Resources = field(default_factory=Resources)
    estimate: MemoryUse | None = None
    """Estimated memory; None if it is not known."""
    share: int | None = None
    """Bytes of a node's memory that come with the cores of the task; None if the job file sets the memory."""
    accelerator_memory: int | None = None
    """Bytes of the accelerator that the task can share; None if the job file sets their number, or there is none."""
    hardware: tuple[Hardware, ...] = ()
    """The groups of nodes that it can run on; its numerics were resolved for the first."""
    measured: MemoryUse | None = None
    """The most memory that finished tasks of its member used before this start; None if that is not known."""
    view: str = ""
    """The member's view, such as `ema`; empty if the member is the network or estimator itself."""
    others: tuple[FitTask, ...] = ()
    """The tasks of the other members that the same fit produces."""
    halved: bool = False
    """Whether it replaces a planned task with half of its batch, because the accelerator was out of memory."""
    procedure: Procedure | None = None
    """What to do instead of the usual fit; the kind of the member must support it."""
    until: int | None = None
    """The epoch after which it ends with the result so far; None for the whole fit. See `plan.steps`."""
    whole: str = ""
    """With `until`, the key of the whole fit, whose checkpoints are shared."""
    origin: str = ""
    """The key of a task with `until` whose last state it begins with; empty if it begins with a new model."""
    kept: bool = False
    """With `until`, whether its last state is kept, so that other tasks can begin with it."""

    @property
    def all(self) -> tuple[FitTask, ...]:
        """This task and the tasks of the other members that the same fit produces."""
        return (self, *self.others)

    @property
    def result_key(self) -> str:
        """The key of its result: `key`, or one of its own if it is `halved`."""
        return _halved(self.key) if self.halved else self.key

    @property
    def state_key(self) -> str:
        """The key of its checkpoints: that of the whole fit, or one of its own if it is `halved`."""
        key = self.whole or self.key
        return _halved(key) if self.halved else key

    @property
    def expected(self) -> MemoryUse | None:
        """The memory that it is expected to use: what other tasks of its member used, or else the estimate."""
        return self.measured or self.estimate

    @property
    def kind(self) -> str:
        return self.params.kind

    @property
    def part(self) -> str:
        """`fold 3`, or `all rows`."""
        return "all rows" if self.fold == ALL_ROWS else f"fold {self.fold + 1}"

    @property
    def title(self) -> str:
        """The task in a few words, such as `cnn.2 fold 3`."""
        return f"{self.label} {self.part}"

    def __str__(self) -> str:
        view = (f", {self.view}" if self.view else "") + (", half batch" if self.halved else "")
        return f"member {self.member}, copy {self.copy + 1}{view}, {self.part}"


def _halved(key: str) -> str:
    return digest(what="half batch", fit=key)


@dataclass(frozen=True)
class PredictTask:
    """Predict the test rows with the files of a finished fit task."""

    key: str
    fit: FitTask
    cost: float = 1.0

    @property
    def resources(self) -> Resources:
        return self.fit.resources.of_one

    @property
    def title(self) -> str:
        return self.fit.title

    def __str__(self) -> str:
        return f"prediction of {self.fit}"


@dataclass(frozen=True)
class FeatureTask:
    """Compute the features of some rows with a frozen network, for all members that learn from them."""

    key: str
    backbone: Backbone
    part: Literal["train", "test"]
    start: int
    stop: int
    numerics: Numerics
    cost: float
    resources: Resources = field(default_factory=Resources)
    estimate: MemoryUse | None = None
    """Estimated memory; None if it is not known."""
    share: int | None = None
    """Bytes of a node's memory that come with the cores of the task; None if no node is known."""

    @property
    def expected(self) -> MemoryUse | None:
        """The memory that it is expected to use."""
        return self.estimate

    @property
    def accelerator_memory(self) -> None:
        """None: the job file sets the number of accelerators."""
        return None

    @property
    def member(self) -> Backbone:
        """What the tasks have in common that use the same memory."""
        return self.backbone

    @property
    def label(self) -> str:
        """The architecture of the network."""
        return self.backbone.arch

    @property
    def title(self) -> str:
        return f"features {self.start + 1}-{self.stop} ({self.part}), {self.label}"

    def __str__(self) -> str:
        rows = f"{'training' if self.part == 'train' else 'test'} rows {self.start + 1:,} to {self.stop:,}"
        return f"features of {self.label}, {rows}"


Task = FitTask | PredictTask | FeatureTask


@dataclass(frozen=True)
class Unit:
    """One or more tasks that share a worker: they run one after another, or fits of one kind are trained together."""

    tasks: tuple[Task, ...]
    mode: Literal["sequence", "together"] = "sequence"
    reserved: Resources | None = None
    """What the unit reserves, if that is not what its first task asks for."""

    @property
    def cost(self) -> float:
        return sum(task.cost for task in self.tasks)

    @property
    def resources(self) -> Resources:
        return self.reserved or self.tasks[0].resources


@dataclass(frozen=True)
class JobData:
    """The data that all tasks of a job read: rows, folds, and files that members start from."""

    train: Dataset
    test: Dataset | None
    folds: Folds
    assets: dict[str, bytes] = field(default_factory=dict)
    unlabelled: Images | None = None
    backbones: dict[Backbone, bytes] = field(default_factory=dict)
    """The weights of the frozen networks that compute features, as safetensors."""
    train_dev: Dataset | None = None
    """Rows that are split from the training rows and are only used to score the finished ensemble."""

    @cached_property
    def unlearnable(self) -> list[UnlearnableClass]:
        """The classes with rows that no model of their fold can classify correctly."""
        data = self.train
        return unlearnable_classes(data.y, self.folds.folds, weight=data.weight, groups=data.groups)

    @cached_property
    def learnable(self) -> NDArray[np.bool_]:
        """The rows (N,) that are used for selection: those whose class occurs in the training rows of all their
        folds."""
        return learnable_rows(self.train.y, self.folds.folds, weight=self.train.weight)

    @property
    def warnings(self) -> list[str]:
        """Warnings about the rows and folds, to show before training."""
        return [one.warning(self.train.class_names[one.label]) for one in self.unlearnable]

    @cached_property
    def unlabelled_digest(self) -> str | None:
        """SHA-256 of the unlabelled images."""
        return self.unlabelled.digest() if self.unlabelled is not None else None


@dataclass(frozen=True)
class DataAddition:
    """What the data of a job get after they were placed on the workers."""

    folds: Folds | None = None
    """Other folds instead of those so far; None leaves them."""
    backbones: Mapping[Backbone, bytes] = field(default_factory=dict)
    """The weights of frozen networks."""
    train: tuple[Extracted, ...] = ()
    """Feature vectors of the training rows."""
    test: tuple[Extracted, ...] = ()
    """Feature vectors of the test rows."""

    def added_to(self, data: JobData) -> JobData:
        """The data with this addition; their rows are not copied."""
        return replace(
            data,
            folds=self.folds if self.folds is not None else data.folds,
            backbones={**data.backbones, **self.backbones},
            train=_with_features(data.train, self.train),
            test=_with_features(data.test, self.test) if data.test is not None else None,
        )


def _with_features(rows: Dataset, found: tuple[Extracted, ...]) -> Dataset:
    if not found:
        return rows
    assert not isinstance(rows.x, Table), "frozen networks need images"
    before = rows.x if isinstance(rows.x, ExtractedImages) else ExtractedImages(rows.x, ())
    return replace(rows, x=replace(before, found=before.found + found))


@dataclass(frozen=True)
class Plan:
    """All fit tasks of a job, in the order of the job file."""

    tasks: tuple[FitTask, ...]
    context: JobData
    features: tuple[FeatureTask, ...] = ()
    """The feature tasks that must run before the members that use them."""
    notes: tuple[str, ...] = ()
    """Choices and warnings about the nodes, to show before training."""

    @property
    def runs(self) -> tuple[FitTask, ...]:
        """The tasks that are not views; each one also produces its views."""
        return tuple(task for task in self.tasks if not task.view)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels of all members, with one label per copy, in the order of the job file."""
        return tuple(dict.fromkeys(task.label for task in self.tasks))

    def of(self, label: str) -> tuple[FitTask, ...]:
        """The tasks of one member, one per fold."""
        return tuple(task for task in self.tasks if task.label == label)
