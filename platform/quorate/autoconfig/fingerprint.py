"""What is to be known of the data before a job can be planned for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.autoconfig.source import DataLocation
from quorate.data.signature import ColumnKind

Hashes = NDArray[np.uint64]
"""One for each row, of its content."""


@dataclass(frozen=True)
class Repeats:
    """Rows with the same content: `train` repeat an earlier training row, `test` are training rows too, `labels` have
    a twin with another label."""

    train: int
    test: int
    labels: int


@dataclass(frozen=True)
class Range:
    """Of all pictures, in pixels."""

    least: int
    median: int
    most: int

    @classmethod
    def of(cls, values: NDArray[np.integer]) -> Range:
        return cls(int(values.min()), int(np.median(values)), int(values.max()))

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most}, median {self.median}"


@dataclass(frozen=True)
class ImageFacts:
    """What the pictures are like."""

    height: Range
    width: Range
    short: Range
    """The shorter side."""
    channels: int
    """3 where there is colour, else 1; arrays have what they have."""
    grey: float
    """Part of the pictures without colour."""
    files: int = 0
    """Picture files in all, those included that cannot be decoded; 0 for arrays."""
    corrupt: tuple[str, ...] = ()
    """Files that cannot be decoded, and why."""
    arrays: tuple[str, str] = ("images", "labels")
    """Names of the arrays of pictures and labels in an archive."""
    class_file: bool = False
    """Whether `classes.txt` beside the archive names its integer labels."""


@dataclass(frozen=True)
class ColumnFacts:
    """One column; `ignore` says why it is no feature, where it is none."""

    name: str
    kind: ColumnKind | None
    missing: float
    """Part of the rows without a value."""
    distinct: int
    ignore: str = ""


@dataclass(frozen=True)
class TableFacts:
    """What the columns are like."""

    label: str
    guess: str
    """Why this column is taken for the label; empty where it was named."""
    columns: tuple[ColumnFacts, ...]
    """All but the label."""
    separator: str = ","


@dataclass(frozen=True)
class Fingerprint:
    """The data in figures."""

    source: DataLocation
    classes: Mapping[str, int]
    """Training rows of each class, in the order of the class names."""
    test_rows: int | None
    bytes: int
    repeats: Repeats
    facts: ImageFacts | TableFacts
    partly: tuple[str, ...] = ()
    """What was looked at in part only."""
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return sum(self.classes.values())

    @property
    def rarest(self) -> tuple[str, int]:
        """The class with the fewest training rows, and how many."""
        return min(((name, count) for name, count in self.classes.items() if count), key=lambda pair: pair[1])

    @property
    def imbalance(self) -> float:
        """Rows of the largest class by those of the smallest."""
        return max(self.classes.values()) / self.rarest[1]


def repeats_of(train: Hashes, y: NDArray[np.int64], test: Hashes | None) -> Repeats:
    """Rows of equal hashes; `y` (N,) are the labels of `train`."""
    groups = pd.Series(y).groupby(train)
    labels = int((groups.transform("nunique") > 1).sum())
    across = 0 if test is None else int(np.isin(test, train).sum())
    return Repeats(len(train) - groups.ngroups, across, labels)
