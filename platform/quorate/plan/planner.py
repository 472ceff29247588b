"""From a job to fit tasks: everything that decides their bits is resolved here and nowhere later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from quorate.data import features
from quorate.data.dataset import Dataset, Images
from quorate.data.folds import Fold, Folds, Unlearnable, learnable_rows, unlearnable_classes
from quorate.data.signature import ImageSignature, Signature, TableSignature
from quorate.data.weighting import check_weighting
from quorate.members.backbone import Backbone, check_backbone, identity_of_backbone, trial
from quorate.members.net_params import NetParams, expected_shape
from quorate.registry import MEMBERS, KindParams, own_reference
from quorate.registry.own_code import said, source_digest
from quorate.spec import JobSpec, MemberParams
from quorate.training.augment import Augment
from quorate.training.context import Hardware, Numerics
from quorate.training.hub import HubError, hub_digest

_PLACE_ONLY = {"copies", "cpus", "gpus", "memory"}
"""Parameters that say how many and where, not what; threads and device are part of the numerics."""
ALL_ROWS = -1
"""The number of the fold whose task trains on all rows; it is the last, and only, one of its context."""
_FEATURE_ROWS = 512
"""Rows of a feature task: few enough for workers to share them evenly, and to lose little when one is stopped."""


@dataclass(frozen=True)
class Resources:
    """What one unit holds while it runs: cores, accelerators (fractions share one), bytes."""

    cpus: float = 1
    gpus: float = 0
    memory: int = 0

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} cpu" + "s" * (self.cpus != 1)]
        parts += [f"{self.gpus:g} gpu" + "s" * (self.gpus != 1)] if self.gpus else []
        parts += [f"{self.memory / 2**30:.1f} GiB"] if self.memory else []
        return ", ".join(parts)


@dataclass(frozen=True)
class FitTask:
    """One member, one copy, one fold; `key` is the hash of all that decides its result."""

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
    view: str = ""
    """Which of the members that one run gives: empty for the one that is run, `ema` for example for another."""
    others: tuple[FitTask, ...] = ()
    """What the same run gives beside."""

    @property
    def all(self) -> tuple[FitTask, ...]:
        """This task and what the same run gives beside."""
        return (self, *self.others)

    @property
    def kind(self) -> str:
        return self.params.kind

    @property
    def part(self) -> str:
        """`fold 3`, or `all rows`."""
        return "all rows" if self.fold == ALL_ROWS else f"fold {self.fold + 1}"

    def __str__(self) -> str:
        view = f", {self.view}" if self.view else ""
        return f"member {self.member}, copy {self.copy + 1}{view}, {self.part}"


@dataclass(frozen=True)
class PredictTask:
    """Probabilities of one finished fit task on other rows."""

    key: str
    fit: FitTask
    cost: float = 1.0

    @property
    def resources(self) -> Resources:
        return self.fit.resources

    def __str__(self) -> str:
        return f"prediction of {self.fit}"


@dataclass(frozen=True)
class FeatureTask:
    """The vectors that a frozen network makes of some rows, for all members that learn from them."""

    key: str
    backbone: Backbone
    part: Literal["train", "test"]
    start: int
    stop: int
    numerics: Numerics
    cost: float
    resources: Resources = field(default_factory=Resources)

    @property
    def label(self) -> str:
        """Which network."""
        return self.backbone.arch

    def __str__(self) -> str:
        rows = f"{'training' if self.part == 'train' else 'test'} rows {self.start + 1:,} to {self.stop:,}"
        return f"features of {self.label}, {rows}"


Task = FitTask | PredictTask | FeatureTask


def pretraining_of(params: MemberParams) -> Any:
    """What a member learns before its training, from unlabelled images too; None for most."""
    return getattr(params, "pretrain", None)


@dataclass(frozen=True)
class Unit:
    """One or more tasks that run on one device, one after another."""

    tasks: tuple[Task, ...]

    @property
    def cost(self) -> float:
        return sum(task.cost for task in self.tasks)

    @property
    def resources(self) -> Resources:
        return self.tasks[0].resources


@dataclass(frozen=True)
class JobData:
    """What every task of a job may read: rows, folds, and files that members start from."""

    train: Dataset
    test: Dataset | None
    folds: Folds
    assets: dict[str, bytes] = field(default_factory=dict)
    unlabelled: Images | None = None
    backbones: dict[Backbone, bytes] = field(default_factory=dict)
    """The tensors of the frozen networks that are asked for features, as safetensors."""
    train_dev: Dataset | None = None
    """Rows like the training rows that no task sees: the finished ensemble is scored on them."""

    @cached_property
    def unlearnable(self) -> list[Unlearnable]:
        """The classes with rows that no model of their fold can be right about."""
        data = self.train
        return unlearnable_classes(data.y, self.folds.folds, weight=data.weight, groups=data.groups)

    @cached_property
    def learnable(self) -> NDArray[np.bool_]:
        """The rows (N,) that count in choices: those of a class that all of their folds train on."""
        return learnable_rows(self.train.y, self.folds.folds, weight=self.train.weight)

    @property
    def warnings(self) -> list[str]:
        """What is to be known of the rows and folds before training."""
        return [one.said(self.train.class_names[one.label]) for one in self.unlearnable]

    @cached_property
    def unlabelled_digest(self) -> str | None:
        """SHA-256 of the unlabelled images."""
        return self.unlabelled.digest() if self.unlabelled is not None else None


class PlanError(ValueError):
    """A member cannot be planned for these data."""

    def __init__(self, member: str, message: str) -> None:
        super().__init__(message)
        self.member = member


@dataclass(frozen=True)
class Plan:
    """All fit tasks of a job, in the order of the job file."""

    tasks: tuple[FitTask, ...]
    context: JobData
    features: tuple[FeatureTask, ...] = ()
    """What frozen networks are asked for before members can learn from it."""

    @property
    def runs(self) -> tuple[FitTask, ...]:
        """The tasks that are run; the others come with them."""
        return tuple(task for task in self.tasks if not task.view)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The ensemble's members, copies apart, in the order of the job file."""
        return tuple(dict.fromkeys(task.label for task in self.tasks))

    def of(self, label: str) -> tuple[FitTask, ...]:
        """The tasks of one member, one for each fold."""
        return tuple(task for task in self.tasks if task.label == label)


def make_plan(spec: JobSpec, context: JobData, hardware: Hardware, *, first_fold: int = 0) -> Plan:
    """`members x copies x folds` fit tasks, and what else their runs give; their seeds, numerics, keys and costs."""
    folds = {number: _fold_hash(fold) for number, fold in enumerate(context.folds.folds, start=first_fold)}
    tasks = tuple(
        task
        for name, params in spec.members.items()
        for task in _tasks(spec.seed, name, params, context, folds, hardware)
    )
    return Plan(tasks, context, tuple(_feature_tasks(tasks, context)))


def recipes_of(spec: JobSpec, labels: Iterable[str]) -> tuple[str, ...]:
    """What the members of these labels are copies of: the same for those that differ in their seed alone."""
    return tuple(_recipe(spec.members, *label.split(".")) for label in labels)


def _recipe(members: Mapping[str, MemberParams], name: str, *rest: str) -> str:
    """Of the member `name`, its copy's number where it has copies, and the view where it is one."""
    params = members[name]
    return ".".join([name, *(rest if params.copies == 1 or params.vary else rest[1:])])


def backbone_of(params: MemberParams) -> Backbone | None:
    """The frozen network from whose features a member learns."""
    backbone: Backbone | None = getattr(params, "features", None)
    return backbone


def hub_weights_of(params: MemberParams, signature: Signature) -> str | None:
    """SHA-256 of the weights of a hub that a member starts from; None where it does not. Raises `HubError`."""
    if not isinstance(params, NetParams) or params.weights != "hub":
        return None
    return hub_digest(params.arch, expected_shape(params, signature))


def _feature_tasks(tasks: Sequence[FitTask], context: JobData) -> Iterator[FeatureTask]:
    """Pieces of the training and test rows for each frozen network."""
    backbones = dict.fromkeys(filter(None, (backbone_of(task.params) for task in tasks)))
    for backbone in backbones:
        for part, data in (("train", context.train), ("test", context.test)):
            if data is None:
                continue
            assert isinstance(data.signature, ImageSignature), "refused by each member's numerics"
            shape = data.signature.shape
            identity, numerics = identity_of_backbone(backbone, shape), backbone.numerics(shape)
            flops = trial(backbone, shape).profile.flops
            for start in range(0, len(data), _FEATURE_ROWS):
                stop = min(start + _FEATURE_ROWS, len(data))
                key = digest(what="features", rows=data.rows_digest, start=start, stop=stop, **identity)
                # 20 Gflop/s on one core, and .2 ms an image beside, as for networks that are trained.
                cost = (stop - start) * (flops / 20e9 + 2e-4)
                resources = Resources(1, backbone.gpus)
                yield FeatureTask(key, backbone, part, start, stop, numerics, cost, resources)  # type: ignore[arg-type]


def _tasks(
    job_seed: int, name: str, params: MemberParams, context: JobData, folds: Mapping[int, str], hardware: Hardware
) -> Iterator[FitTask]:
    kind, resources = MEMBERS.get(params.kind), Resources(params.cpus, params.gpus, params.memory)
    resolved = None
    for copy in range(params.copies):
        if resolved is None or params.vary:
            resolved = _resolve(name, params.of_copy(copy), context, hardware)
        views = kind.views(resolved.params) if hasattr(kind, "views") else ()
        label = name if params.copies == 1 else f"{name}.{copy + 1}"
        for fold, fold_hash in folds.items():
            seed, numerics = derive_seed(job_seed, name, copy, fold), resolved.numerics[fold]
            decides = {
                "what": "fit",
                "version": kind.version,
                "member": name,
                "copy": copy,
                "seed": seed,
                "params": resolved.identity,
                "data": context.train.fingerprint,
                "fold": fold_hash,
                "numerics": numerics.to_json(),
                **resolved.own,
            }
            run = FitTask(
                digest(**decides), name, copy, fold, label, resolved.params, seed, numerics, resolved.cost, resources
            )
            others = tuple(
                replace(run, key=digest(**decides, view=view), label=f"{label}.{view}", cost=0.0, view=view)
                for view in views
            )
            yield replace(run, others=others)
            yield from others


@dataclass(frozen=True)
class _Resolved:
    """What follows from the parameters of one copy, for each fold where it differs."""

    params: MemberParams
    identity: dict[str, Any]
    own: dict[str, Any]
    """What else decides the result: users' own code, a backbone, a hub's weights, unlabelled images."""
    numerics: list[Numerics]
    cost: float


def _resolve(name: str, params: MemberParams, context: JobData, hardware: Hardware) -> _Resolved:
    """Raises `PlanError` where the member cannot learn from these rows."""
    kind, data = MEMBERS.get(params.kind), context.train
    signature, rows = data.signature, [len(fold.train) for fold in context.folds.folds]
    unlabelled = context.unlabelled if pretraining_of(params) is not None else None
    sources = own_sources(params)
    own: dict[str, Any] = {"own": sources} if sources else {}
    try:
        check_weighting(kind, params, data)
    except ValueError as error:
        raise PlanError(name, str(error)) from error
    try:
        numerics = [kind.numerics(params, signature=signature, rows=n, hardware=hardware) for n in rows]
        backbone = backbone_of(params)
        seen = signature if backbone is None else check_backbone(backbone, signature)
        cost = kind.cost(params, signature=seen, rows=rows[0], n_classes=data.n_classes)
        if backbone is not None:
            assert isinstance(signature, ImageSignature), "a backbone takes nothing else"
            own["features"] = identity_of_backbone(backbone, signature.shape)
        if isinstance(signature, TableSignature):
            own["columns"] = features.VERSION
        if (from_hub := hub_weights_of(params, signature)) is not None:
            own["hub"] = from_hub
        if unlabelled is not None:
            own["unlabelled"] = context.unlabelled_digest
            if hasattr(kind, "pretraining_cost"):
                cost += kind.pretraining_cost(params, signature=signature, rows=len(unlabelled))
    except HubError as error:
        raise PlanError(name, str(error)) from error
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().splitlines()
        raise PlanError(name, f"cannot be built for {signature}: {reason[0] if reason else repr(error)}") from error
    except Exception as error:
        if own_reference(params) is None:
            raise
        raise PlanError(name, f"{params.kind} raises {said(error)}") from error
    return _Resolved(params, identity_of(params), own, numerics, cost)


def predict_key(fit_key: str, rows: Dataset) -> str:
    """The key of one fit task's probabilities for `rows`."""
    return digest(what="predict", fit=fit_key, rows=rows.rows_digest)


def derive_seed(*parts: object) -> int:
    """A seed below 2**62 from (job seed, member, copy, fold), whatever their order of execution."""
    return int(digest(seed=[str(part) for part in parts]), 16) % 2**62


def digest(**parts: object) -> str:
    """SHA-256 of the canonical JSON of `parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def identity_of(params: BaseModel) -> dict[str, Any]:
    """The parameters that decide a result: those that are not at their defaults, files by their content.

    Leaving defaults out lets a kind gain a parameter without a new identity for what was trained
    before; a changed default needs a new `version` of the kind.
    """
    chosen: dict[str, Any] = {}
    for name, definition in type(params).model_fields.items():
        value = getattr(params, name)
        if name == "kind" or (name not in _PLACE_ONLY and value != definition.get_default(call_default_factory=True)):
            chosen[name] = _identity(value)
    return chosen


def _identity(value: Any) -> Any:
    if isinstance(value, Augment):
        # the order counts; crop and mirror alone keep the keys that they had as two switches
        return value.flags if value.flags is not None else [_identity(step) for step in value.root]
    if isinstance(value, BaseModel):
        return identity_of(value)
    if isinstance(value, Path):
        return "sha256:" + hashlib.sha256(value.read_bytes()).hexdigest()
    if isinstance(value, tuple | list):
        return [_identity(item) for item in value]
    if isinstance(value, dict):
        return {key: _identity(item) for key, item in value.items()}
    return value


def own_sources(params: KindParams) -> list[list[str]]:
    """`module:name` and the SHA-256 of its source for each of the user's own kinds in `params`."""
    reference = own_reference(params)
    sources = [[reference, source_digest(reference)]] if reference is not None else []
    return sources + [source for _, value in params if isinstance(value, KindParams) for source in own_sources(value)]


def assets_of(spec: JobSpec) -> dict[str, bytes]:
    """The content of every file that members' parameters name, by its path."""
    copies = [params.of_copy(copy) for params in spec.members.values() for copy in range(params.copies)]
    values = [value for params in copies for _, value in params]
    values += [backbone.weights for backbone in values if isinstance(backbone, Backbone)]
    paths = {value for value in values if isinstance(value, Path)}
    return {str(path): path.read_bytes() for path in paths}


def _fold_hash(fold: Fold) -> str:
    content = hashlib.sha256(fold.train.astype("<i8").tobytes())
    content.update(b"|" + fold.valid.astype("<i8").tobytes())
    return content.hexdigest()
