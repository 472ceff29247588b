"""The leaderboard: members and ensemble with their figures, as JSON for scripts and as a table for people."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from quorate.paired import Z
from quorate.report.budget import as_lines

_SHORT = {"accuracy": "acc.", "nll": "NLL", "ece": "ECE", "brier": "Brier"}
METRICS = ("accuracy", "nll", "ece", "brier")
"""Shown in this order, out-of-fold and on the test rows."""


def as_table(board: dict[str, Any], *, width: int = 160) -> Table:
    """A table of a leaderboard, members by out-of-fold log-loss, the ensemble last.

    Below 120 columns the kinds and the Brier scores are left out, so that it fits a terminal of 80.
    """
    wide = width >= 120
    metrics = METRICS if wide else METRICS[:-1]
    tested = any(row.get("test") for row in (*board["members"], board["ensemble"]))
    ensemble = board["ensemble"]
    table = Table(
        title=f"{board['run']}, combined by {ensemble['combiner']}",
        title_justify="left",
        box=SIMPLE_HEAD if wide else None,
        padding=(0, 0, 0, 1),
    )
    table.add_column("\nmember", no_wrap=wide, overflow="fold")  # gives way rather than a figure
    if wide:
        table.add_column("\nkind", no_wrap=True)
    splits = ("oof", "test") if tested else ("oof",)
    for split in splits:
        for metric in metrics:
            table.add_column(f"{split}\n{_SHORT[metric]}", justify="right", no_wrap=True)
    for column in ("\nweight", "\nT", "\nfit s"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("\nstatus", no_wrap=True)
    for row in sorted(board["members"], key=_by_loss):
        last = [_number(row["weight"], 3), _number(row["temperature"], 2), _number(row["fit_seconds"], 1)]
        style = {"ok": "", "out of time": "yellow", "stopped early": "yellow"}.get(row["status"], "red")
        status = Text(_status(row, wide=wide), style=style)
        kind = [row["kind"]] if wide else []
        table.add_row(row["name"], *kind, *_figures(row, splits, metrics), *last, status)
    table.add_section()
    blank = ["", _number(ensemble["temperature"], 2), "", ""]
    captions = [_gain(ensemble.get("best_single") or {})]
    if aside := ensemble.get("train_dev"):
        figures = ", ".join(f"{_SHORT[metric]} {_number(aside[metric], 4)}" for metric in metrics)
        captions.append(f"ensemble on {aside['rows']:,} train-dev rows: {figures}")
    captions += [each["note"] for each in board.get("unlearnable", ())]
    table.caption, table.caption_justify = "\n".join(filter(None, captions)) or None, "left"
    table.add_row("ensemble", *([""] if wide else []), *_figures(ensemble, splits, metrics), *blank, style="bold")
    return table


def _gain(best: dict[str, Any]) -> str:
    """What the ensemble has over its best single member, and whether that is more than noise."""
    if not best.get("error"):
        return ""
    gain, half = best["gain"], Z * best["error"]
    said = f"{'-' if gain > 0 else '+'}{abs(gain):.4f} ± {half:.4f}"
    noise = "" if abs(gain) > half else ", within noise"
    return f"the ensemble against {best['name']} alone: oof NLL {said} (95 %){noise}"


def choices(board: dict[str, Any]) -> Table | None:
    """What the combiner has chosen from, with cross-fitted losses; None where there was no choice."""
    found = board["ensemble"].get("candidates")
    if not found:
        return None
    table = Table(title="the combiner chose from", title_justify="left", box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    for column in ("cross-fitted loss", "to the best", "± error", ""):
        table.add_column(column, justify="right")
    best = min(one["loss"] for one in found)
    for one in found:
        error = "" if one["error"] is None or one["loss"] == best else _number(one["error"], 4)
        gap = "" if one["loss"] == best else f"+{one['loss'] - best:.4f}"
        style = "bold" if one["chosen"] else ""
        table.add_row(one["name"], _number(one["loss"], 4), gap, error, "chosen" if one["chosen"] else "", style=style)
    return table


def as_text(board: dict[str, Any], *, width: int = 160) -> str:
    """The table as plain text."""
    text = io.StringIO()
    console = Console(width=width, color_system=None, file=text)
    console.print(as_table(board, width=width))
    if (chosen := choices(board)) is not None:
        console.print(chosen)
    for line in as_lines(board["budget"], board["run"]) if "budget" in board else ():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return text.getvalue()


def as_markdown(board: dict[str, Any], *, most: int = 30) -> str:
    """The ensemble and its best members, at most `most`, as a Markdown table: what MLflow shows on the job's page."""
    ensemble, metrics = board["ensemble"], METRICS[:-1]
    splits = [split for split in ("oof", "test") if ensemble[split]]
    members = sorted(board["members"], key=_by_loss)
    figures = [f"{split} {_SHORT[metric]}" for split in splits for metric in metrics]
    lines = [
        ["member", "kind", *figures, "weight", "status"],
        ["---", "---", *["---:"] * (len(figures) + 1), "---"],
        [f"**ensemble** ({ensemble['combiner']})", "", *_figures(ensemble, splits, metrics), "", ""],
    ]
    for row in members[:most]:
        last = [_number(row["weight"], 3), row["status"]]
        lines.append([row["name"], row["kind"], *_figures(row, splits, metrics), *last])
    more = f"\n\n{len(members) - most} more are in leaderboard.txt" if len(members) > most else ""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + more


def _status(row: dict[str, Any], *, wide: bool) -> str:
    """Where time left folds out, how many there are."""
    if row["status"] != "out of time":
        return str(row["status"]) if wide else str(row["status"]).removesuffix(" early")
    folds = f"{row['folds']}/{row['of_folds']} folds"
    return f"out of time, {folds}" if wide else folds


def _by_loss(row: dict[str, Any]) -> float:
    return float(row["oof"]["nll"]) if row["oof"] else float("inf")


def _figures(row: dict[str, Any], splits: Sequence[str], metrics: Sequence[str]) -> list[str]:
    return [_number((row.get(split) or {}).get(metric), 4) for split in splits for metric in metrics]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
