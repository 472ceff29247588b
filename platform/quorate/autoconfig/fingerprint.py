"""The fingerprint of the data: the facts from which a job is planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.autoconfig.source import DataLocation
from quorate.data.signature import ColumnKind

Hashes = NDArray[np.uint64]
"""One hash of the content per row."""


@dataclass(frozen=True)
class Repeats:
    """Numbers of repeated rows: `train` counts rows that repeat an earlier training row, `test` counts test rows that
    are also training rows, and `labels` counts training rows with a duplicate that has a different label."""

    train: int
    test: int
    labels: int


@dataclass(frozen=True)
class Range:
    """Minimum, median and maximum over all pictures, in pixels."""

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
    """The facts about pictures."""

    height: Range
    width: Range
    short: Range
    """The shorter side."""
    channels: int
    """For files, 3 with colour and 1 without; for arrays, their number of channels."""
    grey: float
    """Fraction of the pictures without colour."""
    files: int = 0
    """Number of picture files, including corrupt ones; 0 for arrays."""
    corrupt: tuple[str, ...] = ()
    """Files that cannot be decoded, each with the reason."""
    arrays: tuple[str, str] = ("images", "labels")
    """Names of the arrays of pictures and labels in an archive."""
    class_file: bool = False
    """Whether `classes.txt` next to the archive names its integer labels."""
    keeps_mirrored: bool = False
    """Whether mirrored images have the same class, as far as it was tested."""


@dataclass(frozen=True)
class ColumnFacts:
    """The facts about one column; `ignore` is the reason why it is not a feature, or empty."""

    name: str
    kind: ColumnKind | None
    missing: float
    """Fraction of the rows without a value."""
    distinct: int
    ignore: str = ""
    dates: bool = False
    """Whether the column has dates."""


@dataclass(frozen=True)
class SplitHint:
    """A sign that rows depend on each other, and the key of `data` that splits them accordingly."""

    key: Literal["groups", "time"] | None
    """None if no column says which rows belong together."""
    column: str
    why: str
    fix: str = "add a column that says which rows belong together, and name it in `data.groups` or `data.time`"
    """What to do if no column says it."""

    @property
    def note(self) -> str:
        """What was found, and what to do."""
        use = f"split the rows with `data.{self.key}: {self.column}`" if self.key else self.fix
        return f"{self.why}; if such rows are in different folds, the estimates are too optimistic: {use}"


@dataclass(frozen=True)
class TableFacts:
    """The facts about the columns of a table."""

    label: str
    guess: str
    """The reason for the guess of the label column; empty if the user named it."""
    columns: tuple[ColumnFacts, ...]
    """All columns except the label."""
    separator: str = ","
    hints: tuple[SplitHint, ...] = ()
    """Signs that rows depend on each other."""


@dataclass(frozen=True)
class Fingerprint:
    """The facts about the data."""

    source: DataLocation
    classes: Mapping[str, int]
    """Number of training rows per class, in the order of the class names."""
    test_rows: int | None
    bytes: int
    repeats: Repeats
    facts: ImageFacts | TableFacts
    partly: tuple[str, ...] = ()
    """Checks that used only a part of the data."""
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return sum(self.classes.values())

    @property
    def rarest(self) -> tuple[str, int]:
        """The class with the fewest training rows, and its number of training rows."""
        return min(((name, count) for name, count in self.classes.items() if count), key=lambda pair: pair[1])

    @property
    def imbalance(self) -> float:
        """Number of rows of the largest class divided by that of the smallest class."""
        return max(self.classes.values()) / self.rarest[1]


def repeats_of(train: Hashes, y: NDArray[np.int64], test: Hashes | None) -> Repeats:
    """Count rows with equal hashes; `y` (N,) are the labels of `train`."""
    groups = pd.Series(y).groupby(train)
    labels = int((groups.transform("nunique") > 1).sum())
    across = 0 if test is None else int(np.isin(test, train).sum())
    return Repeats(len(train) - groups.ngroups, across, labels)
