"""Define what all data kinds have in common: parameters, opened rows, held-out test rows, and notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator

from quorate.data.dataset import Dataset, Images
from quorate.data.file_settings import FileSettings
from quorate.data.folds import FoldsError
from quorate.data.roles import RoleError, groups_of, times_of, weights_of
from quorate.errors import UserError
from quorate.registry import Spec
from quorate.spec import DatasetParams, TestOrigin


class DataError(UserError):
    """The data cannot be used; `key` is the key of `data` in the job file that caused the error."""

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class TestSplit(Spec):
    """A fraction of the rows that is held out as test set: stratified by class, in whole groups, or the latest rows."""

    __test__ = False  # pytest: not a test class

    fraction: float = Field(gt=0, lt=1)
    """Fraction of the rows to hold out."""
    seed: int = Field(0, ge=0)
    """Random state of scikit-learn's `train_test_split`."""


def origin_of(test: Path | str | TestSplit | None) -> TestOrigin:
    """Return where the test rows come from, for the key `test` of a data kind."""
    return "none" if test is None else "held out" if isinstance(test, TestSplit) else "separate"


class DataParams(DatasetParams):
    """The parameters that all data kinds take."""

    decodes: ClassVar[bool] = False
    """Whether the data kind's `open` takes a `data.decoding.Decoder` as its second argument."""
    limit: int | None = Field(None, ge=2)
    """Maximum number of training rows; the first ones are used."""

    def file_settings(self) -> FileSettings:
        """Return the settings for reading files of new rows; data kinds with such settings override this method."""
        return FileSettings()


class RoleParams(DataParams):
    """Columns of a table, or arrays of an archive, that are not features: weights, groups and times."""

    weight: str | None = None
    """Sample weights, finite and ≥ 0: the weight of each row in training."""
    groups: str | None = None
    """Rows that belong together; no group is in both the training and the validation rows of a fold."""
    time: str | None = None
    """Numbers or dates that order the rows; no row is predicted by a model that was trained on later rows."""

    def file_settings(self) -> FileSettings:
        return FileSettings(groups=self.groups)

    @field_validator("time")
    @classmethod
    def _one_order_at_most(cls, time: str | None, info: ValidationInfo) -> str | None:
        if time is not None and info.data.get("groups") is not None:
            raise ValueError("rows are split by groups or by time, not by both; remove one of them")
        return time


@dataclass(frozen=True)
class OpenedData:
    """Opened data; `notes` are sentences for the user on what was skipped or chosen."""

    train: Dataset
    test: Dataset | None
    notes: tuple[str, ...] = ()
    unlabelled: Images | None = None
    """Additional images with the shape of the training images, without class labels."""


_ROLES: Mapping[str, Callable[[pd.Series[Any]], NDArray[Any]]] = {
    "weight": weights_of,
    "groups": groups_of,
    "time": times_of,
}


def read_roles(
    params: RoleParams, column: Callable[[str, str], pd.Series[Any]], place: Callable[[int | None], str]
) -> dict[str, Any]:
    """Return the weights, groups and times that the job file names, as arguments of `Dataset`.

    `column(name, key)` returns the values of a column, `place(row)` the place of a row for messages. Raises
    `DataError`.
    """
    roles = {}
    for key, convert in _ROLES.items():
        if (name := getattr(params, key)) is not None:
            try:
                roles[key] = convert(column(name, key))
            except RoleError as error:
                raise DataError(f"{place(error.row)}: {name}: {error.problem}", key) from None
    return roles


def hold_out(data: Dataset, split: TestSplit) -> tuple[Dataset, Dataset]:
    """Split off a test set: stratified, or whole groups, or the latest rows.

    Raises `DataError` if a class is too small, or there are too few groups or times.
    """
    # scikit-learn takes most of a second, and job files are checked without it
    from sklearn.model_selection import train_test_split

    from quorate.data.splitting import latest_rows, whole_groups

    try:
        if data.time is not None:
            train, test = latest_rows(data.time, split.fraction)
        elif data.groups is not None:
            train, test = whole_groups(data.y, data.groups, split.fraction, np.random.RandomState(split.seed))
        else:
            train, test = train_test_split(
                np.arange(len(data)), test_size=split.fraction, stratify=data.y, random_state=split.seed
            )
    except (FoldsError, ValueError) as error:
        raise DataError(f"cannot hold out {split.fraction:g} of {len(data)} rows: {error}", "test") from None
    return data.take(train), data.take(test)


def note_unlabelled(images: Images) -> str:
    return f"{len(images):,} unlabelled images, for members with the key pretrain"


def first_rows(opened: OpenedData, limit: int | None) -> OpenedData:
    """Return the data with only the first `limit` training rows, and with the whole test set.

    If these rows lack a class, as in a folder that lists one class after another, the first rows of each class are
    used, in proportion. Raises `DataError` for fewer rows than classes.
    """
    if limit is None or limit >= len(opened.train):
        return opened
    data = opened.train
    rows, note = np.arange(limit), f"limit: the first {limit:,} of {len(data):,} training rows are used"
    if lacking := set(data.y.tolist()) - set(data.y[:limit].tolist()):
        rows = _first_of_each_class(data.y, limit)
        names = ", ".join(repr(data.class_names[k]) for k in sorted(lacking)[:3])
        note = (
            f"limit: {limit:,} of {len(data):,} training rows are used, the first rows of each class in proportion to "
            f"its size, because the first {limit:,} rows of the data have no row of {names}"
            + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        )
    return replace(opened, train=data.take(rows), notes=(*opened.notes, note))


def _first_of_each_class(y: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Return the positions of `limit` rows in order: the first rows of each class, the same fraction of each but at
    least one row."""
    _, positions, counts = np.unique(y, return_inverse=True, return_counts=True)
    if limit < len(counts):
        raise DataError(f"{limit} rows cannot contain all {len(counts)} classes; use at least {len(counts)}", "limit")
    order = np.argsort(positions, kind="stable")
    rank = np.empty(len(y))
    rank[order] = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(np.argsort(rank / counts[positions], kind="stable")[:limit])
