"""Load and validate a job file: `load_job` returns a `Job` or raises all errors together."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import to_json

from quorate.registry import COMBINERS, DATASETS, MEMBERS, KindParams, Spec, kind_of, own_code
from quorate.spec import file as jobfile
from quorate.spec.file import Loc, Override, Source, SpecError
from quorate.spec.hub_policy import HubPolicy
from quorate.spec.kind_params import DatasetParams
from quorate.spec.problems import problems
from quorate.spec.values import DATA_SCHEMES, HIDDEN_QUERY, NAME, PathLookup, Seconds


# 5 folds are usual (Hastie, Tibshirani and Friedman, 2009, section 7.10.1). The defaults of `fraction` and `auto_rows`
# are assumptions, not measurements.
class ValidationSpec(Spec):
    """How the training rows are split into folds."""

    scheme: Literal["auto", "kfold", "holdout"] = "auto"
    """`auto` uses k-fold below `auto_rows` training rows, and one holdout fold otherwise."""
    folds: int = Field(5, ge=2, le=1000)
    """Number of folds of the k-fold scheme."""
    repeats: int = Field(1, ge=1, le=100)
    """Number of times that the k-fold split is drawn; each row's out-of-fold predictions are averaged over the
    repeats."""
    fraction: float = Field(0.1, gt=0, lt=1)
    """Fraction of the rows in the validation set of the holdout scheme."""
    auto_rows: int = Field(20_000, ge=1)
    """Minimum number of training rows for `auto` to use one holdout fold."""
    train_dev: float = Field(0.0, ge=0, lt=1)
    """Fraction of the training rows that is set aside: it is not used for training or validation, and is scored at the
    end like the test rows."""


# The default of `members` is an assumption, not a measurement.
class QuorumSpec(Spec):
    """How many members and folds the ensemble requires."""

    members: int | float = Field(0.5, gt=0)
    """Minimum number of members (whole number), or minimum fraction of them (at most 1.0)."""
    folds: int | None = Field(None, ge=1)
    """Minimum number of folds that a member must finish to be part of the ensemble; by default all of them."""

    @field_validator("members")
    @classmethod
    def _a_part_is_at_most_all(cls, members: int | float) -> int | float:
        if isinstance(members, float) and members > 1:
            raise ValueError(f"{members} is neither a fraction (at most 1.0) nor a whole number of members")
        return members

    def of(self, total: int) -> int:
        """Return the required number of members if there are `total`."""
        needed = self.members if isinstance(self.members, int) else math.ceil(self.members * total)
        return max(1, min(needed, total))


class ProductionSpec(Spec):
    """Which models the bundle predicts with."""

    folds: Annotated[str, Field(pattern=r"^(all|best [1-9][0-9]*)$")] = "all"
    """`all` averages all fold models of each member; `best 2` (or another number) averages those with the lowest
    log-loss on their validation rows."""
    refit: bool = False
    """Train each member with a positive weight once more, on all rows; this model replaces its fold models."""

    @property
    def best(self) -> int | None:
        """Number of fold models per member; None for all."""
        return None if self.folds == "all" else int(self.folds.removeprefix("best "))

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if self.refit and self.best is not None:
            raise ValueError(
                f"refit replaces the fold models, so folds: {self.folds} would have no effect; remove one of them"
            )
        return self


# The defaults of `retries`, `lost_workers`, `silence_factor`, `checkpoint_seconds` and `wait_for_nodes` are
# assumptions, not measurements.
class ExecutionSpec(Spec):
    """Where fit tasks run and how failures are handled."""

    executor: Literal["ray", "local"] = "ray"
    """`ray` trains on actors of a cluster, `local` in this process, one task after another."""
    retries: int = Field(1, ge=0, le=100)
    """Number of times a fit task that raised an error is tried again."""
    lost_workers: int = Field(5, ge=0, le=1000)
    """Number of times a fit task is restarted because its worker died."""
    silence_factor: float | None = Field(5, ge=1, le=1000)
    """A fit task that is silent for this many times the estimated time of an epoch, or of its whole fit if it has no
    epochs, is ended and restarted as if its worker had died; `null` turns this off."""
    checkpoint_seconds: float = Field(10, ge=0)
    """Minimum number of seconds between two checkpoints of a fit task."""
    workers: int | None = Field(None, ge=1)
    """Maximum number of concurrent fit tasks; by default as many as the cluster can hold."""
    wait_for_nodes: Seconds = 600
    """Time limit for an autoscaling cluster to start a node that a fit task needs, such as `90s` or `1h`."""
    budget: Seconds | None = None
    """Time limit for the whole command, such as `300s`, `20m` or `2h`; by default there is none."""
    hub: HubPolicy | None = None
    """Whether a hub may be asked for weights that are not in the cache of the machine: `never`, or by this job (`allow`
    and `fit-only` differ for other commands only); by default the variable QUORATE_HUB, otherwise `allow`."""


class TrackingSpec(Spec):
    """What is sent to MLflow."""

    enabled: bool = True
    """Whether the job is logged to MLflow."""
    experiment: str = "quorate"
    """The MLflow experiment's name."""
    register_as: str | None = None
    """Name in the Model Registry; by default the job's name."""


_NAME_RULE = "use at most 100 letters, digits, '-' and '_', and begin with a letter or digit"


def _member_name(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise ValueError(f"the member name {name!r} is not valid; {_NAME_RULE}")
    return name


class JobSpec(Spec):
    """One ensemble job."""

    name: str = "ensemble"
    """The name of the run folder, the MLflow run and the registered model."""
    seed: int = Field(0, ge=0)
    """The seed of all random numbers; each fit task derives its own from it and (member, copy, fold)."""
    data: kind_of(DATASETS)  # type: ignore[valid-type]
    """The training rows and the test rows."""
    validation: ValidationSpec = ValidationSpec()
    """How the training rows are split into folds."""
    members: dict[Annotated[str, AfterValidator(_member_name)], kind_of(MEMBERS)]  # type: ignore[valid-type]
    """Mapping from names to members; a member's identity includes its name but not its position."""
    combiner: kind_of(COMBINERS) = "calibrated_greedy"  # type: ignore[valid-type]
    """How the members' predictions are combined."""
    quorum: QuorumSpec = QuorumSpec()
    """How many members and folds the ensemble requires."""
    production: ProductionSpec = ProductionSpec()
    """The models that the bundle predicts with: all fold models, the best of them, or models trained on all rows."""
    execution: ExecutionSpec = ExecutionSpec()
    """Where fit tasks run and how failures are handled."""
    grow: bool = False
    """Whether a job with `execution.budget` goes on when its members are finished: it adds copies and members of the
    portfolio while they lower the cross-fitted loss of the ensemble."""
    tracking: TrackingSpec = TrackingSpec()
    """What is sent to MLflow."""

    @field_validator("name")
    @classmethod
    def _name_is_a_word(cls, name: str) -> str:
        if not re.fullmatch(NAME, name):
            raise ValueError(_NAME_RULE)
        return name

    @field_validator("validation")
    @classmethod
    def _train_dev_has_a_test_from_elsewhere(cls, validation: ValidationSpec, info: ValidationInfo) -> ValidationSpec:
        data = info.data.get("data")  # absent if it is invalid
        origin = data.test_origin() if isinstance(data, DatasetParams) else "separate"
        if validation.train_dev and origin != "separate":
            found = "there are no test rows" if origin == "none" else "the test rows are a part of the training rows"
            raise ValueError(
                f"train_dev: {validation.train_dev:g} requires a test set that is separate from the training rows, "
                f"but {found}; name a file in data.test, or leave train_dev out"
            )
        return validation

    @model_validator(mode="after")
    def _a_budget_leaves_no_refit(self) -> Self:
        if self.production.refit and self.execution.budget is not None:
            raise ValueError("production.refit cannot be used with a budget; leave out production.refit or the budget")
        return self

    @field_validator("members")
    @classmethod
    def _at_least_one_member(cls, members: dict[str, KindParams]) -> dict[str, KindParams]:
        if not members:
            raise ValueError("an ensemble needs at least one member")
        return members


@dataclass(frozen=True)
class Job:
    """A valid job and the file that it came from."""

    spec: JobSpec
    source: Source

    def error(self, *problems: tuple[Loc, str]) -> SpecError:
        """Return a `SpecError` that points at places in the job file."""
        return SpecError([self.source.problem(loc, message) for loc, message in problems])


def load_job(path: Path, overrides: Sequence[str | Override] = (), lookup: PathLookup | None = None) -> Job:
    """Read, override and validate a job file; raises `SpecError` with all of its problems.

    `lookup` finds the files that it names, by default on this machine.
    """
    return validate(jobfile.read(path, overrides), base=path.parent, lookup=lookup)


def spec_of_run(path: Path) -> JobSpec:
    """Read the job of a run from its folder, even if files that the job names no longer exist; raises `ValueError` and
    `OSError`."""
    own_code.add_search_folders(path.parent, Path())
    tree = json.loads(path.read_text(encoding="utf-8"))
    try:
        return JobSpec.model_validate(tree, context={"read_before": True})
    except ValidationError as error:
        raise SpecError(list(problems(error, JobSpec, Source("", tree, {})))) from None


def record_of(spec: JobSpec) -> bytes:
    """Return the job as JSON for `spec_of_run`, without the queries of the URLs of its data, which can hold secrets."""
    return to_json(without_queries(spec.model_dump(mode="json")), indent=1)


def without_queries(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a job as JSON without the queries of the URLs of its data, which can hold secrets."""
    if not isinstance(data := tree["data"], dict):  # the name of a kind alone
        return tree
    return {**tree, "data": {name: _without_query(value) for name, value in data.items()}}


def _without_query(value: Any) -> Any:
    if isinstance(value, str) and value.partition("://")[0] in DATA_SCHEMES and "?" in value:
        return value.partition("?")[0] + HIDDEN_QUERY
    return value


def validate(source: Source, *, base: Path, lookup: PathLookup | None = None) -> Job:
    """Turn a parsed file into a `Job`; raises `SpecError`.

    Users' own code is searched for in `base`, then in the current folder.
    """
    own_code.add_search_folders(base, Path())
    try:
        spec = JobSpec.model_validate(source.tree, context={"base": base, "lookup": lookup})
    except ValidationError as error:
        raise SpecError(list(problems(error, JobSpec, source))) from None
    return Job(spec, source)
