"""Fit tables to a terminal by leaving out the least important columns; names and numbers are never broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

UNLIMITED = 10_000
"""Width of a file or a pipe in characters: wider than any table."""

_RULER = Console(width=UNLIMITED)


@dataclass(frozen=True)
class TableColumn:
    """A column with its cells. Columns with the highest `rank` are left out first; rank 0 is never left out."""

    head: str
    cells: Sequence[str | Text]
    rank: int = 0
    justify: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class FittedTable:
    """A table, and the headings of the columns that do not fit."""

    table: Table
    left_out: tuple[str, ...]


def fit(columns: Sequence[TableColumn], *, width: int, styles: Sequence[str] = (), **look: Any) -> FittedTable:
    """A table of `columns` in at most `width` characters; `look` is passed to rich's `Table`.

    If the columns of rank 0 are too wide, the first one, which holds names, continues on a second line.
    """
    kept, gone = list(columns), []
    while True:
        table = _table(kept, styles, look)
        droppable = max(kept, key=lambda column: column.rank)
        if natural_width(table) <= width or not droppable.rank:
            return FittedTable(table, tuple(column.head for column in columns if column in gone))
        kept.remove(droppable)
        gone.append(droppable)


def natural_width(table: Table) -> int:
    """The smallest width in characters at which no cell of a table is wrapped or cut."""
    return _RULER.measure(table).maximum


def _table(columns: Sequence[TableColumn], styles: Sequence[str], look: dict[str, Any]) -> Table:
    table = Table(**look)
    for place, column in enumerate(columns):
        broken: Literal["fold", "ellipsis"] = "ellipsis" if place else "fold"
        table.add_column(Text(column.head), justify=column.justify, no_wrap=place > 0, overflow=broken)
    for number, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        texts = [Text(cell) if isinstance(cell, str) else cell for cell in cells]
        table.add_row(*texts, style=styles[number] if styles else None)
    return table
