"""Define the signature of a row: an image of a fixed size, or values of typed columns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

ColumnKind = Literal["numeric", "categorical", "boolean"]


@dataclass(frozen=True)
class ImageSignature:
    """An image, uint8 of `shape` (H, W, C)."""

    kind: ClassVar[Literal["image"]] = "image"
    shape: tuple[int, int, int]

    @property
    def size(self) -> int:
        """Number of values of one row."""
        return math.prod(self.shape)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "dtype": "uint8", "shape": list(self.shape)}

    def __str__(self) -> str:
        return "images of {}x{}x{}".format(*self.shape)


@dataclass(frozen=True)
class Column:
    """One column of a table; any value of it may be missing."""

    name: str
    kind: ColumnKind
    as_written: bool = False
    """Whether texts that look like whole numbers are names: 1 and 1.0 are two categories (`plain_text.are_names`)."""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, **({"as_written": True} if self.as_written else {})}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Column:
        return cls(saved["name"], saved["kind"], as_written=saved.get("as_written", False))


@dataclass(frozen=True)
class TableSignature:
    """A row of `columns`, in their order."""

    kind: ClassVar[Literal["table"]] = "table"
    columns: tuple[Column, ...]

    @property
    def size(self) -> int:
        """Number of values of one row."""
        return len(self.columns)

    def names(self, *kinds: ColumnKind) -> list[str]:
        """Return the names of the columns of these kinds, or of all columns without `kinds`."""
        return [column.name for column in self.columns if not kinds or column.kind in kinds]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "columns": [column.to_json() for column in self.columns]}

    def __str__(self) -> str:
        counts = Counter(column.kind for column in self.columns)
        listed = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        return f"tables of {len(self.columns)} column{'s' * (len(self.columns) != 1)} ({listed})"


Signature = ImageSignature | TableSignature


def signature_from_json(saved: Mapping[str, Any]) -> Signature:
    """Read what `to_json` returned; raises `ValueError` for another kind of input."""
    if saved["kind"] == "image":
        height, width, channels = saved["shape"]
        return ImageSignature((height, width, channels))
    if saved["kind"] == "table":
        return TableSignature(tuple(map(Column.from_json, saved["columns"])))
    raise ValueError(f"unknown kind of inputs {saved['kind']!r}; this version knows images and tables")
