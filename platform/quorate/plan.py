"""From a job to fit tasks: everything that decides their bits is resolved here and nowhere later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from quorate.data.dataset import Dataset, Images
from quorate.data.folds import Fold, Folds
from quorate.data.weighting import check_weighting
from quorate.kinds import MEMBERS, KindParams, own_reference
from quorate.own_code import said, source_digest
from quorate.spec import JobSpec, MemberParams
from quorate.training.run import Hardware, Numerics

_PLACE_ONLY = {"copies", "cpus", "gpus", "memory"}
"""Parameters that say how many and where, not what; threads and device are part of the numerics."""


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

    @property
    def kind(self) -> str:
        return self.params.kind

    def __str__(self) -> str:
        return f"member {self.member}, copy {self.copy + 1}, fold {self.fold + 1}"


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


Task = FitTask | PredictTask


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
class Context:
    """What every task of a job may read: rows, folds, and files that members start from."""

    train: Dataset
    test: Dataset | None
    folds: Folds
    assets: dict[str, bytes] = field(default_factory=dict)
    unlabelled: Images | None = None
    train_dev: Dataset | None = None
    """Rows like the training rows that no task sees: the finished ensemble is scored on them."""


class PlanError(ValueError):
    """A member cannot be planned for these data."""

    def __init__(self, member: str, message: str) -> None:
        super().__init__(message)
        self.member = member


@dataclass(frozen=True)
class Plan:
    """All fit tasks of a job, in the order of the job file."""

    tasks: tuple[FitTask, ...]
    context: Context

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The ensemble's members, copies apart, in the order of the job file."""
        return tuple(dict.fromkeys(task.label for task in self.tasks))

    def of(self, label: str) -> tuple[FitTask, ...]:
        """The tasks of one member, one for each fold."""
        return tuple(task for task in self.tasks if task.label == label)


def make_plan(spec: JobSpec, context: Context, hardware: Hardware) -> Plan:
    """`members x copies x folds` fit tasks with their seeds, numerics, keys and estimated costs."""
    folds = [_fold_hash(fold) for fold in context.folds.folds]
    tasks = tuple(
        task
        for name, params in spec.members.items()
        for task in _tasks(spec.seed, name, params, context, folds, hardware)
    )
    return Plan(tasks, context)


def _tasks(
    job_seed: int, name: str, params: MemberParams, context: Context, folds: Sequence[str], hardware: Hardware
) -> Iterator[FitTask]:
    kind, data = MEMBERS.get(params.kind), context.train
    signature, identity = data.signature, identity_of(params)
    sources = own_sources(params)
    own = {"own": sources} if sources else {}
    rows = [len(fold.train) for fold in context.folds.folds]
    try:
        check_weighting(kind, params, data)
    except ValueError as error:
        raise PlanError(name, str(error)) from error
    try:
        numerics = [kind.numerics(params, signature=signature, rows=n, hardware=hardware) for n in rows]
        cost = kind.cost(params, signature=signature, rows=rows[0], n_classes=data.n_classes)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().splitlines()
        raise PlanError(name, f"cannot be built for {signature}: {reason[0] if reason else error!r}") from error
    except Exception as error:
        if own_reference(params) is None:
            raise
        raise PlanError(name, f"{params.kind} raises {said(error)}") from error
    resources = Resources(params.cpus, params.gpus, params.memory)
    for copy in range(params.copies):
        for fold, fold_hash in enumerate(folds):
            seed = derive_seed(job_seed, name, copy, fold)
            key = digest(
                what="fit",
                version=kind.version,
                member=name,
                copy=copy,
                seed=seed,
                params=identity,
                data=data.fingerprint,
                fold=fold_hash,
                numerics=numerics[fold].to_json(),
                **own,
            )
            label = name if params.copies == 1 else f"{name}.{copy + 1}"
            yield FitTask(key, name, copy, fold, label, params, seed, numerics[fold], cost, resources)


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
    paths = [value for params in spec.members.values() for _, value in params if isinstance(value, Path)]
    return {str(path): path.read_bytes() for path in paths}


def _fold_hash(fold: Fold) -> str:
    content = hashlib.sha256(fold.train.astype("<i8").tobytes())
    content.update(b"|" + fold.valid.astype("<i8").tobytes())
    return content.hexdigest()
