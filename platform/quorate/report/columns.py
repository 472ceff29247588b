"""Tables that fit a terminal: the least important columns are left out before a name or a figure is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

UNLIMITED = 10_000
"""The width of a file or a pipe, where nothing has to be cut: wider than any table here."""

_RULER = Console(width=UNLIMITED)


@dataclass(frozen=True)
class TableColumn:
    """A column with all its cells; those with the highest `rank` are left out first, those of rank 0 never."""

    head: str
    cells: Sequence[str | Text]
    rank: int = 0
    justify: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class FittedTable:
    """A table, and the heads of the columns that do not fit."""

    table: Table
    left_out: tuple[str, ...]


def fit(columns: Sequence[TableColumn], *, width: int, styles: Sequence[str] = (), **look: Any) -> FittedTable:
    """A table of `columns` in at most `width` characters; `look` is handed to rich's `Table`.

    Where even the columns of rank 0 are too wide, their first one, which holds names, goes on in a second line.
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
    """The width in characters at which no cell of a table is broken or cut."""
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
