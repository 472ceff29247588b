"""The leaderboard: members and ensemble with their figures, as JSON for scripts and as a table for people."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

METRICS = ("accuracy", "nll", "ece", "brier")
"""Shown in this order, out-of-fold and on the test rows."""


def as_table(board: dict[str, Any]) -> Table:
    """A table of a leaderboard, members by out-of-fold log-loss, the ensemble last."""
    tested = any(row.get("test") for row in (*board["members"], board["ensemble"]))
    table = Table(title=f"{board['job']}: {board['run']}", title_justify="left", header_style="bold", pad_edge=False)
    table.add_column("member", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for split in ("oof", "test") if tested else ("oof",):
        for metric in METRICS:
            table.add_column(f"{split}\n{metric}", justify="right")
    for column in ("weight", "temper-\nature", "fit s"):
        table.add_column(column, justify="right")
    table.add_column("status")
    for row in sorted(board["members"], key=_by_loss):
        last = [_number(row["weight"], 3), _number(row["temperature"], 2), _number(row["fit_seconds"], 1)]
        bad = "" if row["status"] == "ok" else "red"
        table.add_row(row["name"], row["kind"], *_figures(row, tested), *last, Text(row["status"], style=bad))
    table.add_section()
    ensemble = board["ensemble"]
    cells = ["ensemble", ensemble["combiner"], *_figures(ensemble, tested), "", "", "", ""]
    table.add_row(*cells, style="bold")
    return table


def as_text(board: dict[str, Any], *, width: int = 160) -> str:
    """The table as plain text."""
    text = io.StringIO()
    Console(width=width, color_system=None, file=text).print(as_table(board))
    return text.getvalue()


def _by_loss(row: dict[str, Any]) -> float:
    return float(row["oof"]["nll"]) if row["oof"] else float("inf")


def _figures(row: dict[str, Any], tested: bool) -> list[str]:
    splits = ("oof", "test") if tested else ("oof",)
    return [_number((row.get(split) or {}).get(metric), 4) for split in splits for metric in METRICS]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
