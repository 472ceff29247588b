"""Load and validate a job file: `load_job` returns a `Job` or raises all errors together."""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, to_json

from quorate.quantities import SIZE, TIME, read_bytes, read_seconds
from quorate.registry import (
    COMBINERS,
    DATASETS,
    MEMBERS,
    InvalidParams,
    KindParams,
    Spec,
    did_you_mean,
    kind_of,
    own_code,
)
from quorate.registry.parameter_names import field_named, unknown_key_message
from quorate.spec import file as jobfile
from quorate.spec.file import Loc, Override, Problem, Source, SpecError

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
"""The pattern of the names of jobs and members."""


PathLookup = Callable[[Path, Callable[[Path], Path]], Path]
"""Finds a file or folder that a job file names; its second argument finds it on this machine. Raises `ValueError`."""


def _given_path(value: Path, info: ValidationInfo) -> Path:
    context = info.context or {}
    if context.get("read_before"):
        return value
    here = partial(_existing_path, base=context.get("base", Path()))
    lookup: PathLookup | None = context.get("lookup")
    return here(value) if lookup is None else lookup(value, here)


def _existing_path(value: Path, base: Path) -> Path:
    """Resolve a path from the job file's folder, or else from the current folder (for paths in shell variables)."""
    for folder in (base, Path()):
        try:
            path = folder / value.expanduser()
            if path.exists():
                return path.absolute()
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{str(value)[:80]!r} is not a usable path: {error}") from None
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(value)):  # `Path` has removed the second slash
        raise PydanticCustomError(_OTHER_BRANCH, "is a URL; this key takes a path of this machine")
    raise ValueError(f"there is no {str(value)!r}, neither in the job file's folder nor in {Path.cwd()}")


ExistingPath = Annotated[Path, AfterValidator(_given_path)]
"""An existing file or folder; its path is relative to the job file's folder, or else to the current folder."""


_HIDDEN_QUERY = "?(not recorded)"
"""In the record of a run, the query of a URL."""


def _given_url(value: str, info: ValidationInfo) -> str:
    if value.endswith(_HIDDEN_QUERY) and not (info.context or {}).get("read_before"):
        raise ValueError(
            "the record of a run does not keep the query of a URL, because it can hold a secret; to read the data "
            "again, download the file and start the job with its path"
        )
    scheme, separator, rest = value.partition("://")
    if not separator or "/" in scheme:
        raise PydanticCustomError(_OTHER_BRANCH, "is not a URL")
    if scheme not in DATA_SCHEMES:
        choices = ", ".join(f"{name}://" for name in DATA_SCHEMES)
        raise ValueError(f"{scheme}:// is not one of {choices}")
    host, _, path = rest.partition("/")
    if "@" in host:  # not repeated in the message, as it may be a secret
        raise ValueError("a URL must not contain credentials; set them as environment variables")
    if not host or not path:
        raise ValueError(f"{value.partition('?')[0]!r} lacks the path of a file or folder")
    return value


DATA_SCHEMES = ("s3", "gs", "az", "https", "http")
_OTHER_BRANCH = "other_branch"
"""The type of an error about a value that another branch of a union may accept."""

Url = Annotated[str, AfterValidator(_given_url)]
"""The URL of a file or folder: `s3://bucket/path`, `gs://bucket/path`, `az://container/path`, `https://host/path`."""

DataPath = ExistingPath | Url
"""A file or folder of this machine, or its URL."""


def _size(value: object) -> object:
    return read_bytes(value) if isinstance(value, str) else value


Bytes = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=0),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": SIZE, "examples": ["2GiB"]}]}
    ),
]
"""A number of bytes, or text such as `2GiB`."""


def _time(value: object) -> object:
    return read_seconds(value) if isinstance(value, str) else value


Seconds = Annotated[
    float,
    BeforeValidator(_time),
    Field(gt=0, allow_inf_nan=False),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": TIME, "examples": ["300s", "20m", "2h"]},
            ]
        }
    ),
]
"""A number of seconds, or text such as `20m`."""


_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_NAME = rf"([A-Za-z0-9.-]{{1,253}}/)?{_LABEL}"
_LABEL_RULE = "use at most 63 letters, digits, '-', '_' and '.', and begin and end with a letter or digit"
"""As in Kubernetes, whose rules Ray's labels follow."""
ACCELERATOR_TYPE = "ray.io/accelerator-type"
"""The label that Ray gives to nodes with accelerators: their type, such as `H100`."""


def _label_value(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


TestOrigin = Literal["separate", "held out", "none"]
"""Where the test rows of a job come from: another source than the training rows, the training rows, or nowhere."""


class DatasetParams(KindParams):
    """The parameters of a data kind, as far as a job file is checked by them."""

    def test_origin(self) -> TestOrigin:
        """Return where the test rows come from; a kind whose parameters decide this overrides it."""
        return "separate"


class MemberParams(KindParams):
    """The parameters that members of every kind take."""

    copies: int = Field(1, ge=1, le=1000)
    """Number of members to train from this entry; they differ in their seeds."""
    cpus: float = Field(1, gt=0, allow_inf_nan=False)
    """Number of CPU cores per fit task; a network uses as many threads."""
    gpus: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["auto"] = "auto"
    """Number of accelerators per fit task; with a fraction, several tasks share one. `auto` estimates the fraction that
    a network occupies if there are accelerators, and is 0 otherwise and for other kinds."""
    memory: Bytes | Literal["auto"] = "auto"
    """Memory of the node that a fit task requires, in bytes or as `2GiB`; 0 requests none. `auto` estimates it, and
    corrects the estimate by what the first task of the member used."""
    needs: dict[str, Annotated[str, BeforeValidator(_label_value)]] = Field(default_factory=dict)
    """Labels of the nodes that a fit task can run on, such as `{accelerator: H100}`; `accelerator` is Ray's label
    `ray.io/accelerator-type`."""
    vary: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    """Values per parameter that the copies use in turn, such as `{lr: [0.01, 0.1]}`; dots separate nested names."""

    @field_validator("needs")
    @classmethod
    def _are_labels(cls, needs: dict[str, str]) -> dict[str, str]:
        for name, value in needs.items():
            if not re.fullmatch(_LABEL_NAME, name):
                raise ValueError(f"{name!r} is not the name of a label: {_LABEL_RULE}")
            if not re.fullmatch(_LABEL, value):
                raise ValueError(f"{name}: {value!r} is not the value of a label: {_LABEL_RULE}")
        return needs

    @field_validator("vary")
    @classmethod
    def _by_fields(cls, vary: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return `vary` with the names of the fields, so that an alias gives the same member."""
        paths = [path.partition(".") for path in vary]
        renamed = [field_named(cls, key) + dot + rest for key, dot, rest in paths]
        if twice := {name for name in renamed if renamed.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} is given under two of its names; keep one of them")
        return dict(zip(renamed, vary.values(), strict=True))

    @model_validator(mode="after")
    def _every_copy_is_valid(self, info: ValidationInfo) -> Self:
        if self.vary and self.copies == 1:
            raise ValueError("vary requires at least 2 copies, but there is 1; set copies")
        for name in self.vary.keys() & {"kind", "copies", "cpus", "gpus", "memory", "needs", "vary"}:
            raise ValueError(f"vary: {name} must be equal for all copies; remove it from vary, or add another member")
        for copy in range(self.copies if self.vary else 0):
            try:
                given = self._given(copy)
            except ValueError as error:
                raise ValueError(f"vary: {error}") from None
            try:
                made = type(self).model_validate(given, context=info.context)
            except (ValidationError, InvalidParams) as error:
                raise ValueError(f"vary: copy {copy + 1}: {_first_problem(error, type(self), given)}") from None
            for path, values in self.vary.items():
                if isinstance(file := _value_at(made, path), Path):
                    values[copy % len(values)] = str(file)  # a path relative to the job file's folder
        return self

    @property
    def accelerators(self) -> float:
        """Number of accelerators per fit task; 0 while `auto` is not resolved."""
        return 0.0 if self.gpus == "auto" else self.gpus

    @property
    def node_labels(self) -> tuple[tuple[str, str], ...]:
        """`needs` as sorted labels of nodes."""
        named = {ACCELERATOR_TYPE if name == "accelerator" else name: value for name, value in self.needs.items()}
        return tuple(sorted(named.items()))

    @property
    def most_epochs(self) -> int | None:
        """Maximum number of epochs of the member; None for a kind that cannot stop between epochs."""
        return None

    @property
    def stopping_metric(self) -> str | None:
        """The validation metric for early stopping; None for a kind that does not stop early."""
        return None

    @property
    def pretraining(self) -> KindParams | None:
        """The pretraining of the member on images without labels; None without pretraining."""
        return None

    @property
    def frozen_backbone(self) -> Any:
        """The frozen network (`members.backbone.Backbone`) whose feature vectors the member learns from, or None."""
        return None

    def of_copy(self, copy: int) -> Self:
        """Return the parameters of one copy (from 0), with its values of `vary`."""
        return type(self).model_validate(self._given(copy)) if self.vary else self

    def _given(self, copy: int) -> dict[str, Any]:
        """Return the parameters as a job file with only this copy would contain them; raises `ValueError`."""
        given = self.model_dump(exclude={"vary"}, exclude_unset=True)
        for path, values in self.vary.items():
            inner, keys = given, path.split(".")
            for key in keys[:-1]:
                below = inner.get(key, self._default(key) if inner is given else None)
                if not isinstance(below, str | dict | None):
                    raise ValueError(f"{path}: {key} is {below!r}, which has no keys")
                inner[key] = {"kind": below} if isinstance(below, str) else below or {}
                inner = inner[key]
            inner[keys[-1]] = values[copy % len(values)]
        return given

    def _default(self, key: str) -> Any:
        """Return the default of a parameter as a job file would contain it."""
        default = getattr(self, key, None)
        if isinstance(default, KindParams):
            return {"kind": default.kind}
        return None if isinstance(default, BaseModel) else default


def _value_at(part: Any, path: str) -> Any:
    for key in path.split("."):
        part = getattr(part, key, None)
    return part


def _first_problem(error: ValidationError | InvalidParams, model: type[BaseModel], tree: Any) -> str:
    found = _flatten(error.error, (), error.model) if isinstance(error, InvalidParams) else _flatten(error, (), model)
    loc, inner, details = next((one for one in found if one[2]["type"] not in _WRONG_TYPE), found[0])
    place, text = _plain(loc, inner, details, tree)
    return f"{'.'.join(map(str, place))}: {text}" if place else text


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
        raise SpecError(list(_problems(error, Source("", tree, {})))) from None


def record_of(spec: JobSpec) -> bytes:
    """Return the job as JSON for `spec_of_run`, without the queries of the URLs of its data, which can hold secrets."""
    tree = spec.model_dump(mode="json")
    for name, value in tree["data"].items():
        if isinstance(value, str) and value.partition("://")[0] in DATA_SCHEMES and "?" in value:
            tree["data"][name] = value.partition("?")[0] + _HIDDEN_QUERY
    return to_json(tree, indent=1)


def validate(source: Source, *, base: Path, lookup: PathLookup | None = None) -> Job:
    """Turn a parsed file into a `Job`; raises `SpecError`.

    Users' own code is searched for in `base`, then in the current folder.
    """
    own_code.add_search_folders(base, Path())
    try:
        spec = JobSpec.model_validate(source.tree, context={"base": base, "lookup": lookup})
    except ValidationError as error:
        raise SpecError(list(_problems(error, source))) from None
    return Job(spec, source)


_WRONG_TYPE = {"path_type", "model_type", "string_type", _OTHER_BRANCH}
"""Types of errors in branches of a union that the value was not meant for; errors of the other branch are preferred."""


def _problems(error: ValidationError, source: Source) -> list[Problem]:
    """Return pydantic's errors, including those of nested kinds, as one problem per place in the file."""
    messages: dict[Loc, list[str]] = {}
    other_branch: dict[Loc, list[str]] = {}
    found = _flatten(error, (), JobSpec)
    for loc, model, details in found:
        if details["type"] == "too_short" and any(other[:-1] == loc for other, *_ in found):
            continue  # too short only because invalid items do not count
        place, text = _plain(loc, model, details, source.tree)
        texts = (other_branch if details["type"] in _WRONG_TYPE else messages).setdefault(place, [])
        if text not in texts:
            texts.append(text)
    for place, texts in other_branch.items():
        if not any(inner[: len(place)] == place for inner in messages):
            messages[place] = texts
    return [source.problem(loc, " or ".join(texts)) for loc, texts in messages.items()]


def _flatten(error: ValidationError, prefix: Loc, model: type[BaseModel]) -> list[tuple[Loc, type[BaseModel], Any]]:
    flat = []
    for details in error.errors(include_url=False):
        loc = (*prefix, *details["loc"])
        inner = details.get("ctx", {}).get("error")
        if isinstance(inner, InvalidParams):
            flat += _flatten(inner.error, loc, inner.model)
        else:
            flat.append((loc, _model_at(model, loc[len(prefix) :]), details))
    return flat


def _model_at(model: type[BaseModel], loc: Loc) -> type[BaseModel]:
    """Return the model that contains the last key of `loc`."""
    for key in loc[:-1]:
        field = model.model_fields.get(str(key))
        nested = [part for part in _parts(field.annotation if field else None) if _is_model(part)]
        if nested:
            model = nested[0]
    return model


def _parts(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, Annotated, dict, list):
        return [part for inner in typing.get_args(annotation) for part in _parts(inner)]
    return [annotation]


def _is_model(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def _plain(loc: Loc, model: type[BaseModel], details: Mapping[str, Any], tree: Any) -> tuple[Loc, str]:
    """Return the place of an error as the user sees it in the file, and a message."""
    kind, value = details["type"], details["input"]
    if kind in ("extra_forbidden", "missing"):
        key, parent = str(loc[-1]), _visible(loc[:-1], tree)
        given = _at(parent, tree)
        text = unknown_key_message(key, model, given) if kind == "extra_forbidden" else f"the key {key!r} is missing"
        return (*parent, key), text
    loc = _visible(loc, tree)
    if kind == "value_error":
        return loc, str(details["ctx"]["error"])
    if kind == "literal_error":
        expected = details["ctx"]["expected"]
        choices = re.findall(r"'([^']+)'", expected)
        return loc, f"{value!r} is not one of {expected}{did_you_mean(str(value), choices)}"
    message = details["msg"].replace("Input should be", "should be")
    if kind in ("dict_type", "model_type"):
        message = "should be a mapping of keys to values"
    return loc, f"{message}, but is {value!r}" if not isinstance(value, dict | list) else message


def _at(loc: Loc, tree: Any) -> Any:
    for key in loc:
        tree = tree[key]
    return tree


def _visible(loc: Loc, tree: Any) -> Loc:
    """Return `loc` without the names of union branches, which pydantic adds."""
    seen: list[str | int] = []
    for key in loc:
        keys = range(len(tree)) if isinstance(tree, list) else tree if isinstance(tree, dict) else ()
        if key in keys:
            seen.append(key)
            tree = tree[key]
    return tuple(seen)
