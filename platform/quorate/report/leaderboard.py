"""The leaderboard as text: a table of members and ensemble, and a Markdown table for MLflow."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from quorate.ensemble.paired import Z
from quorate.report import budget, growth
from quorate.report.columns import UNLIMITED, TableColumn, fit
from quorate.runs.leaderboard import (
    BestSingleMember,
    Leaderboard,
    LeaderboardMember,
    LeaderboardRow,
    Metric,
    SplitName,
    scores_on,
)

SHORT: Mapping[Metric, str] = {"accuracy": "acc.", "nll": "NLL", "ece": "ECE", "brier": "Brier"}
METRICS: tuple[Metric, ...] = ("accuracy", "nll", "ece", "brier")
"""Metrics in display order, for out-of-fold predictions and for test rows."""
_WIDE = 120
"""Minimum width in characters at which columns have more space and a status is not shortened."""
_RANKS: Mapping[tuple[SplitName, Metric], int] = {
    ("oof", "nll"): 0,
    ("test", "nll"): 3,
    ("oof", "accuracy"): 4,
    ("test", "accuracy"): 5,
    ("oof", "ece"): 7,
    ("test", "ece"): 10,
    ("oof", "brier"): 13,
    ("test", "brier"): 14,
}
"""In a narrow terminal, metrics with the highest rank are left out first."""


def as_table(board: Leaderboard, *, width: int = UNLIMITED) -> Table:
    """The table of a leaderboard: members by out-of-fold log-loss, then the ensemble.

    Columns that do not fit into `width` characters are left out, the least important ones first. The caption names
    them. Names and numbers are never broken.
    """
    wide = width >= _WIDE
    ensemble, members = board.ensemble, board.ranked
    rows: list[LeaderboardRow] = [*members, ensemble]
    splits = _splits(board)
    columns = [
        TableColumn("\nmember", [*(row.name for row in members), "ensemble"], justify="left"),
        TableColumn("\nkind", [*(row.kind for row in members), ""], 12, justify="left"),
        *(
            TableColumn(
                f"{split}\n{SHORT[metric]}", [_figure(row, split, metric) for row in rows], _RANKS[split, metric]
            )
            for split in splits
            for metric in METRICS
        ),
        TableColumn("\nweight", [*(_number(row.weight, 3) for row in members), ""], 1),
        TableColumn("\nT", [_number(row.temperature, 2) for row in rows], 8),
        TableColumn("\nfit s", [*(_number(row.fit_seconds, 1) for row in members), ""], 9),
        TableColumn("\nstatus", [*(_status(row, wide=wide) for row in members), ""], 2, justify="left"),
    ]
    fitted = fit(
        columns,
        width=width,
        styles=["" for _ in members] + ["bold"],
        title=Text(f"{board.run}, combined by {ensemble.combiner}", style="table.title"),
        title_justify="left",
        box=SIMPLE_HEAD if wide else None,
        padding=(0, 0, 0, 1),
    )
    table = fitted.table
    captions = [_gain(ensemble.best_single)]
    if aside := ensemble.train_dev:
        figures = ", ".join(f"{SHORT[metric]} {_number(aside.metric(metric), 4)}" for metric in METRICS)
        captions.append(f"ensemble on {aside.rows:,} train-dev rows: {figures}")
    captions += [each.note for each in board.unlearnable]
    if fitted.left_out:
        names = ", ".join(" ".join(head.split()) for head in fitted.left_out)
        captions.append(f"columns left out: {names} (a wider terminal or `quorate leaderboard --json` shows them)")
    caption = "\n".join(filter(None, captions))
    table.caption, table.caption_justify = Text(caption, style="table.caption") if caption else None, "left"
    return table


def _splits(board: Leaderboard) -> tuple[SplitName, ...]:
    """The sets of rows whose scores a table shows; `test` only if some row of the table has test scores."""
    rows: list[LeaderboardRow] = [*board.members, board.ensemble]
    return ("oof", "test") if any(row.test is not None for row in rows) else ("oof",)


def _gain(best: BestSingleMember | None) -> str:
    """The difference between the ensemble and its best single member, and whether it is within the noise."""
    if best is None or best.gain is None or not best.error:
        return ""
    gain, half = best.gain, Z * best.error
    said = f"{'-' if gain > 0 else '+'}{abs(gain):.4f} ± {half:.4f}"
    noise = "" if abs(gain) > half else ", within noise"
    return f"the ensemble compared with {best.name} alone: oof NLL {said} (95 %){noise}"


def choices(board: Leaderboard) -> Table | None:
    """The candidates of the combiner with their cross-fitted losses; None if there was no choice."""
    found = board.ensemble.candidates
    if not found:
        return None
    table = Table(title="candidates of the combiner", title_justify="left", box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    for column in ("cross-fitted loss", "to the best", "± error", ""):
        table.add_column(column, justify="right")
    best = min(one.rank for one in found)
    for one in found:
        error = "" if one.loss == best else _number(one.error, 4)
        gap = "" if one.loss is None or one.loss == best else f"+{one.loss - best:.4f}"
        style = "bold" if one.chosen else ""
        table.add_row(one.name, _number(one.loss, 4), gap, error, "chosen" if one.chosen else "", style=style)
    return table


def as_text(board: Leaderboard, *, width: int = UNLIMITED) -> str:
    """The table as plain text."""
    text = io.StringIO()
    console = Console(width=width, color_system=None, file=text, markup=False, emoji=False)
    console.print(as_table(board, width=width))
    if (chosen := choices(board)) is not None:
        console.print(chosen)
    for line in remarks(board):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return text.getvalue()


def remarks(board: Leaderboard) -> list[str]:
    """The lines below the table: what a growing job has added, and what a budget has left out."""
    grown = growth.as_lines(board.growth) if board.growth is not None else []
    return grown + (budget.as_lines(board.budget, board.run) if board.budget is not None else [])


def as_markdown(board: Leaderboard, *, most: int = 30) -> str:
    """The ensemble and at most `most` members as a Markdown table, which MLflow shows on the page of the job."""
    ensemble, metrics, members = board.ensemble, METRICS[:-1], board.ranked
    shown: tuple[SplitName, ...] = ("oof", "test")
    splits = [split for split in shown if scores_on(ensemble, split) is not None]
    figures = [f"{split} {SHORT[metric]}" for split in splits for metric in metrics]
    lines = [
        ["member", "kind", *figures, "weight", "status"],
        ["---", "---", *["---:"] * (len(figures) + 1), "---"],
        [f"**ensemble** ({ensemble.combiner})", "", *_figures(ensemble, splits, metrics), "", ""],
    ]
    for row in members[:most]:
        last = [_number(row.weight, 3), row.status]
        lines.append([row.name, row.kind, *_figures(row, splits, metrics), *last])
    more = f"\n\n{len(members) - most} more are in leaderboard.txt" if len(members) > most else ""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + more


def _status(row: LeaderboardMember, *, wide: bool) -> Text:
    """The status of a member; with its number of finished folds if it is out of time."""
    status = row.status
    style = {"ok": "", "out of time": "yellow", "stopped early": "yellow", "half batch": "yellow"}.get(status, "red")
    if status == "out of time":
        folds = f"{row.folds}/{row.of_folds} folds"
        return Text(f"{status}, {folds}" if wide else folds, style=style)
    return Text(status if wide else status.removesuffix(" early"), style=style)


def _figures(row: LeaderboardRow, splits: Sequence[SplitName], metrics: Sequence[Metric]) -> list[str]:
    return [_figure(row, split, metric) for split in splits for metric in metrics]


def _figure(row: LeaderboardRow, split: SplitName, metric: Metric) -> str:
    found = scores_on(row, split)
    return _number(found.metric(metric) if found is not None else None, 4)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
