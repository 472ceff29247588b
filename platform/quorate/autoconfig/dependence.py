"""Look for signs that the rows of a table depend on each other: identifiers that repeat, ordered dates, alike
neighbours, copies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype

from quorate.autoconfig.fingerprint import ColumnFacts, SplitHint
from quorate.data.roles import RoleError, times_of

ID_NAME = re.compile(r"(^|[_\W])(id|idx|index|key|nr|no|uuid|guid|rowid|rownames?)$|^unnamed", re.IGNORECASE)
"""Names of columns that identify something."""
GROUP_NAME = re.compile(
    r"(^|[_\W])(patient|subject|user|customer|client|person|session|household|group|site|source|speaker|author)([_\W]|$)",
    re.IGNORECASE,
)
"""Names of columns that usually say which rows belong together. An assumption, not a measurement."""
FEWEST_GROUPS, ROWS_PER_GROUP = 10, 2.0
"""A column identifies groups if it has at least this number of values, with at least this number of rows each on
average. Assumptions, not measurements."""
ALIKE = 0.7
"""Neighbours count as alike if their mean squared distance is below this fraction of that of random rows of one class.
It is about 1 for rows in random order: .96 to 1.04 on Adult, letter, satellite, dna and vehicle. An assumption, not a
measurement."""
COPIES = 0.05
"""Minimum fraction of rows that repeat an earlier row, for a hint. An assumption, not a measurement."""
_PAIRS, _FEWEST_PAIRS = 5_000, 100
"""Maximum and minimum number of pairs of rows to compare. Assumptions, not measurements."""

_HUGE = 1e100
"""Columns with larger numbers are not compared, because their squares would overflow."""


def split_hints(
    frame: pd.DataFrame, y: NDArray[np.int64], columns: Sequence[ColumnFacts], *, copies: int
) -> tuple[SplitHint, ...]:
    """The signs in a table with these labels (N,); `columns` are those of the frame besides the label, and `copies` is
    the number of rows that repeat an earlier one."""
    found = [*_groups(frame, columns), *_times(frame, columns)]
    features = [column.name for column in columns if not column.ignore]
    if not found and (ratio := neighbour_distance(frame[features], y)) is not None and ratio < ALIKE:
        why = (
            f"rows next to each other are alike: their mean squared distance is {ratio:.0%} of that of random rows of "
            "one class, as in rows of one source or in a series"
        )
        found.append(SplitHint(None, "", why))
    return (*found, *_copies(frame, columns, copies))


def _groups(frame: pd.DataFrame, columns: Sequence[ColumnFacts]) -> Iterator[SplitHint]:
    for column in columns:
        name, values, distinct = column.name, frame[column.name], column.distinct
        if column.kind is None or column.missing or is_bool_dtype(values.dtype) or is_float_dtype(values.dtype):
            continue
        named = ID_NAME.search(name) or GROUP_NAME.search(name)
        if named and distinct >= FEWEST_GROUPS and len(values) >= ROWS_PER_GROUP * distinct:
            why = f"the column {name} has {distinct:,} values for {len(values):,} rows, like a source with several rows"
            yield SplitHint("groups", name, why)


def _copies(frame: pd.DataFrame, columns: Sequence[ColumnFacts], copies: int) -> Iterator[SplitHint]:
    """Repeated rows, unless all columns have few values, so that equal rows can be a coincidence."""
    different = len(frame) - copies
    varied = any(2 * column.distinct > different for column in columns if not column.ignore)
    if copies >= COPIES * len(frame) and varied:
        why = f"{copies:,} of {len(frame):,} rows repeat an earlier row"
        yield SplitHint(None, "", why, "remove the copies, or give equal rows one value in a column for `data.groups`")


def _times(frame: pd.DataFrame, columns: Sequence[ColumnFacts]) -> Iterator[SplitHint]:
    for name in (column.name for column in columns if column.dates):
        try:
            times = times_of(frame[name])
        except RoleError:  # a date is missing, or cannot be read
            continue
        steps = np.diff(times)
        if len(np.unique(times)) >= FEWEST_GROUPS and ((steps >= 0).all() or (steps <= 0).all()):
            yield SplitHint("time", name, f"the rows are sorted by the dates in the column {name}")


def neighbour_distance(features: pd.DataFrame, y: NDArray[np.int64]) -> float | None:
    """The mean squared distance of neighbouring rows of one class, divided by that of random rows of one class (after
    von Neumann, 1941); None if there are too few pairs, or no column of numbers that varies."""
    columns = [name for name in features if is_numeric_dtype(features[name].dtype)]
    x = features[columns].to_numpy(np.float64, na_value=np.nan)
    x = x[:, (np.abs(x) < _HUGE).all(axis=0)] if len(x) else x
    x = x[:, x.std(axis=0) > 0] if x.size else x
    first = np.flatnonzero(y[:-1] == y[1:])
    if x.shape[1] == 0 or len(first) < _FEWEST_PAIRS:
        return None
    x = x / x.std(axis=0)
    random = np.random.default_rng(0)
    first = random.choice(first, min(len(first), _PAIRS), replace=False)
    others = np.empty_like(first)
    for k in np.unique(y[first]):
        mine = y[first] == k
        others[mine] = random.choice(np.flatnonzero(y == k), np.count_nonzero(mine))
    differ = others != first
    near: Any = np.square(x[first] - x[first + 1]).sum(axis=1).mean()
    far: Any = np.square(x[first[differ]] - x[others[differ]]).sum(axis=1).mean()
    return float(near / far) if far > 0 else None
