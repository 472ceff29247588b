"""Record the values in each column of the training rows, to detect unfamiliar values later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.data.plain_text import plain_text
from quorate.data.signature import TableSignature
from quorate.data.table import Table

_SCHEMA = 1
"""Number of the format of `columns.json`."""
FAR = 1.0
"""A number is unfamiliar if it is farther outside the training range than this multiple of the range's width. An
assumption, not a measurement."""


@dataclass(frozen=True, eq=False)
class KnownValues:
    """The categories of the training rows, or their minimum and maximum, by column."""

    categories: Mapping[str, frozenset[str]]
    ranges: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, table: Table) -> KnownValues:
        frame, signature = table.frame, table.signature
        categories = {
            name: frozenset(map(str, frame[name].cat.remove_unused_categories().cat.categories))
            for name in signature.names("categorical")
        }
        numbers = {name: frame[name].to_numpy(np.float64) for name in signature.names("numeric")}
        ranges = {
            name: (float(np.nanmin(values)), float(np.nanmax(values)))
            for name, values in numbers.items()
            if not np.isnan(values).all()
        }
        return cls(categories, ranges)

    def unfamiliar(self, table: Table) -> dict[str, NDArray[np.bool_]]:
        """Return a mask (n,) per column, true for rows with a new category or with a number far from the training
        range.

        Columns without such rows are left out. A missing value is never unfamiliar.
        """
        found: dict[str, NDArray[np.bool_]] = {}
        for name, known in self.categories.items():
            column = table.frame[name].cat
            new = np.array([str(category) not in known for category in column.categories], dtype=bool)
            found[name] = np.append(new, False)[column.codes.to_numpy()]  # a missing value has the code -1
        for name, (least, most) in self.ranges.items():
            values, width = table.frame[name].to_numpy(np.float64), most - least
            found[name] = (values < least - FAR * width) | (values > most + FAR * width)
        return {name: rows for name, rows in found.items() if rows.any()}

    def what(self, column: str) -> str:
        """Return a phrase that describes an unfamiliar value of this column; messages print it after the value."""
        if column in self.categories:
            return "a category that no training row has"
        least, most = self.ranges[column]
        return f"a number far outside the range of the training rows, {least:g} to {most:g}"

    def to_bytes(self) -> bytes:
        """Return the content of the bundle's `columns.json`."""
        columns = {name: {"categories": sorted(known)} for name, known in self.categories.items()}
        ranges = {name: {"range": list(values)} for name, values in self.ranges.items()}
        return json.dumps({"schema": _SCHEMA, "columns": columns | ranges}, indent=1).encode()

    @classmethod
    def from_bytes(cls, content: bytes, signature: TableSignature) -> KnownValues:
        """Read what `to_bytes` wrote for rows of `signature`; raises `ValueError` for another schema.

        Categories are converted to the spelling of tables: earlier versions wrote 1.0 and TRUE for 1 and True.
        """
        saved = json.loads(content)
        if saved["schema"] != _SCHEMA:
            raise ValueError(f"its schema version is {saved['schema']!r}, but this version of Quorate reads {_SCHEMA}")
        columns = saved["columns"]
        as_written = {column.name: column.as_written for column in signature.columns}
        return cls(
            {
                name: frozenset(plain_text(text, as_written=as_written[name]) for text in entry["categories"])
                for name, entry in columns.items()
                if "categories" in entry
            },
            {name: (entry["range"][0], entry["range"][1]) for name, entry in columns.items() if "range" in entry},
        )
