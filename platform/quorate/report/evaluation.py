"""Present an evaluation as tables and text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from quorate.ensemble.intervals import Figure

NAMES = {
    "accuracy": "accuracy",
    "nll": "NLL",
    "ece": "ECE",
    "brier": "Brier",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
}
"""Names of metrics, in display order."""

LARGEST_MATRIX = 12
"""Maximum number of classes for a printed confusion matrix; with more classes it is only drawn as a picture."""


def as_tables(found: dict[str, Any]) -> Iterator[Table | Text]:
    """The title, metrics, members, classes, confusion matrix, mistakes and notes of an evaluation, in this order."""
    yield Text(f"{found['run'] or found['job']} on {found['data']}: {found['rows']:,} rows", style="bold")
    yield _figures(found)
    if found["members"]:
        yield Text("Members and ensemble")
        yield _members(found)
    if against := found["against_best"]:
        yield Text(f"the ensemble minus its best member here, {against['member']}: {differences(against)}")
    yield Text("Classes")
    yield _classes(found)
    if len(found["classes"]) <= LARGEST_MATRIX:
        yield Text("Confusion matrix: rows are true classes, columns are predicted classes")
        yield _confusion(found)
    if found["mistakes"]:
        yield Text("Most confident mistakes")
        yield _mistakes(found)
    for note in found["notes"]:
        yield Text(f"note: {note}")


def differences(found: Mapping[str, Any]) -> str:
    """Paired differences with their intervals: `accuracy +0.0031 [+0.0007, +0.0055], NLL …`."""
    said = []
    for name in ("accuracy", "nll"):
        figure = Figure(**found[name])
        if figure.low is None:
            said.append(f"{NAMES[name]} {figure.value:+.4f} (no interval: all rows belong to one group)")
            continue
        noise = " (within the noise)" if figure.holds_zero else ""
        said.append(f"{NAMES[name]} {figure.value:+.4f} [{figure.low:+.4f}, {figure.high:+.4f}]{noise}")
    return ", ".join(said)


def _figures(found: dict[str, Any]) -> Table:
    table = _table("", "value", f"{found['level']:.0%} interval")
    for name, title in NAMES.items():
        if name in found["ensemble"]:
            figure = found["ensemble"][name]
            known = figure["low"] is not None
            interval = f"{figure['low']:.4f} to {figure['high']:.4f}" if known else "unknown"
            title += f" of {found['positive']}" if name == "average_precision" else ""
            table.add_row(Text(title), _number(figure["value"]), interval)
    return table


def _members(found: dict[str, Any]) -> Table:
    short = [name for name in NAMES if name in found["members"][0]]
    table = _table("", *(NAMES[name] for name in short), "weight")
    for row in sorted(found["members"], key=lambda row: float(row["nll"])):
        table.add_row(Text(row["name"]), *(_number(row[name]) for name in short), _number(row["weight"], 3))
    table.add_section()
    values = (_number(found["ensemble"][name]["value"]) for name in short)
    table.add_row("ensemble", *values, "", style="bold")
    return table


def _classes(found: dict[str, Any]) -> Table:
    table = _table("", "precision", "recall", "F1", "rows")
    for row in found["classes"]:
        figures = (_number(row[name]) for name in ("precision", "recall", "f1"))
        table.add_row(Text(row["class"]), *figures, f"{row['support']:,}")
    return table


def _confusion(found: dict[str, Any]) -> Table:
    numbers = [str(k + 1) for k in range(len(found["classes"]))]
    table = _table("", *numbers)
    for number, row, counts in zip(numbers, found["classes"], found["confusion"], strict=True):
        cells = [
            Text(f"{count:,}" if count else "·", style="bold" if i + 1 == int(number) else "")
            for i, count in enumerate(counts)
        ]
        table.add_row(Text(f"{number} {row['class']}"), *cells)
    return table


def _mistakes(found: dict[str, Any]) -> Table:
    table = _table("input", "true", "predicted", "confidence")
    for column in (1, 2):
        table.columns[column].justify = "left"
    for row in found["mistakes"]:
        shown = (Text(row[name]) for name in ("input", "label", "class"))
        table.add_row(*shown, _number(row["confidence"]))
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
