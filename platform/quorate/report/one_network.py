"""Tables that compare an ensemble with a single network that was made from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from quorate.quantities import format_bytes
from quorate.report.evaluation import differences

_SHORT = {"accuracy": "acc.", "nll": "NLL", "ece": "ECE"}


def comparison(
    rows: Sequence[Mapping[str, Any]],
    splits: Mapping[str, str],
    *,
    bold: str,
    title: str,
    brief: Sequence[str] = (),
) -> Table:
    """Accuracy, log-loss and calibration error of each of `rows` on the available `splits`, which map keys to headings.

    For the `brief` splits only the log-loss is shown, so that the table fits a terminal of 80 columns.
    """
    there = {key: heading for key, heading in splits.items() if any(row.get(key) for row in rows)}
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("", overflow="fold")  # in a narrow terminal, names are wrapped, not numbers
    shown = [(key, name) for key in there for name in _SHORT if name == "nll" or key not in brief]
    headed: set[str] = set()
    for key, name in shown:
        heading = "" if key in headed else there[key]  # only above the first metric of the split
        headed.add(key)
        table.add_column(f"{heading}\n{_SHORT[name]}", justify="right", no_wrap=True)
    for row in rows:
        figures = [_number((row.get(key) or {}).get(name)) for key, name in shown]
        label = Text(row["name"] + (f" ({row['what']})" if row.get("what") else ""))
        table.add_row(label, *figures, style="bold" if row["name"] == bold else "")
    return table


def distillation(found: Mapping[str, Any]) -> Iterator[Table | Text]:
    """The result of a distillation: a table, and sentences on how much of the ensemble's gain is kept."""
    training, size = found["training"], found["size"]
    whats = {"ensemble": "teacher", "student": found["student"]["kind"], "plain": "labels only"}
    rows = [{**row, "what": whats.get(row["name"], "best member")} for row in found["compared"]]
    splits = {"held_out": "held out", "test": "test"}
    title = f"{found['run']}: trained on {training['rows']:,} rows, {training['held_out']:,} held out"
    yield comparison(rows, splits, bold="student", title=title)
    own, whole = size["student"], size["ensemble"]
    yield Text(
        f"student: one model with {own['parameters']:,} parameters, {format_bytes(own['bytes'])}, instead of "
        f"{whole['models']} models, {format_bytes(whole['bytes'])}; temperature {found['temperature']:.2f}"
    )
    against = found["against"]
    for name, said in (("plain", "plain network"), ("ensemble", "ensemble")):
        if name in against:
            yield Text(f"student minus {said}, {splits[against['rows']]}: {differences(against[name])}")
    if found["kept"]:
        yield Text(_kept(found["kept"], splits))
    for note in found["notes"]:
        yield Text(f"note: {note}", style="yellow")


def soup(found: Mapping[str, Any]) -> Iterator[Table | Text]:
    """The result of a soup: the networks that were averaged in each fold, and the metrics."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), title_justify="left")
    table.title = f"{found['run']}: {len(found['members'])} members, {', '.join(found['members'])}"
    for heading in ("\nfold", "\ntaken, best first"):
        table.add_column(heading, overflow="fold")
    for half in _HALVES.values():
        for who in ("best", "soup"):
            table.add_column(f"{half}\n{who}", justify="right", no_wrap=True)
    for fold in found["folds"]:
        losses = [_number(fold[who][half]) for half in _HALVES for who in ("best", "soup")]
        table.add_row(str(fold["fold"]), ", ".join(fold["taken"]), *losses)
    yield table
    splits = {**_HALVES, "test": "test"}
    title = f"chosen on {found['rows']['choice']:,} validation rows, estimated on {found['rows']['estimate']:,} others"
    yield comparison(found["compared"], splits, bold="soup, calibrated", title=title, brief=["choice"])
    choice, size = found["choice"], found["size"]
    if any(len(fold["taken"]) > 1 for fold in found["folds"]):
        yield Text(
            "compared with the best member, the log-loss of the soup is "
            f"{_less(choice['gain_on_choice'])} on the rows that were used to choose it, and "
            f"{_less(choice['gain_on_estimate'])} on the other rows; the difference, {choice['optimism']:+.4f}, is the "
            "optimism of the choice"
        )
    else:
        yield Text("no average was as good as the best member alone, so the soup is that member", style="yellow")
    yield Text(f"{size['models']} models, one per fold, {format_bytes(size['bytes'])}")
    for member, reason in found["left_out"].items():
        yield Text(f"left out: {member}: {reason}")
    for note in found["notes"]:
        yield Text(f"note: {note}", style="yellow")


_HALVES = {"choice": "choice", "estimate": "estimate"}


def _less(gain: float) -> str:
    return f"{abs(gain):.4f} {'lower' if gain >= 0 else 'higher'}"


def _kept(kept: Mapping[str, Any], splits: Mapping[str, str]) -> str:
    rows = f"on the {splits[kept['rows']].replace(' ', '-')} rows"
    shares = {said: kept[name] for name, said in (("accuracy", "accuracy"), ("nll", "log-loss"))}
    gained = {said: share for said, share in shares.items() if share is not None}
    if not gained:
        return f"{rows}, the ensemble is not better than the plain network: training on the labels only is as good"
    parts = [f"{max(share, 0):.0%} of the gain in {said}" for said, share in gained.items()]
    worse = [said for said, share in gained.items() if share < 0]
    warning = f"; its {' and '.join(worse)} is worse than that of the plain network" if worse else ""
    return f"{rows}, the ensemble is better than the plain network; the student keeps {' and '.join(parts)}{warning}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
