"""What every data kind shares: the rows to train on, the rows to test on, and what was noticed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field
from sklearn.model_selection import train_test_split

from quorate.data.dataset import Dataset
from quorate.errors import UserError
from quorate.kinds import KindParams, Spec


class DataError(UserError):
    """The data cannot be used; `key` names the key of the job file's `data` that is to blame."""

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class TestSplit(Spec):
    """A stratified part of the rows that is held out for the test."""

    __test__ = False  # pytest: not a test class

    fraction: float = Field(gt=0, lt=1)
    """Part of the rows to hold out."""
    seed: int = Field(0, ge=0)
    """Random state of scikit-learn's `train_test_split`."""


class DataParams(KindParams):
    """What every data kind takes."""

    limit: int | None = Field(None, ge=2)
    """Use the first so many training rows only."""


@dataclass(frozen=True)
class Opened:
    """Data as they were found: `notes` tells the user what was skipped or chosen."""

    train: Dataset
    test: Dataset | None
    notes: tuple[str, ...] = ()


def hold_out(data: Dataset, split: TestSplit) -> tuple[Dataset, Dataset]:
    """Split off a stratified test set; raises `DataError` where a class is too small."""
    try:
        train, test = train_test_split(
            np.arange(len(data)), test_size=split.fraction, stratify=data.y, random_state=split.seed
        )
    except ValueError as error:
        raise DataError(f"cannot hold out {split.fraction:g} of {len(data)} rows: {error}", "test") from None
    return data.take(train), data.take(test)


def first_rows(opened: Opened, limit: int | None) -> Opened:
    """The first `limit` training rows, and the whole test set."""
    if limit is None or limit >= len(opened.train):
        return opened
    note = f"limit: the first {limit:,} of {len(opened.train):,} training rows are used"
    return replace(opened, train=opened.train.take(np.arange(limit)), notes=(*opened.notes, note))
