"""The leaderboard section: a sortable table of members and the ensemble."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from quorate.report.leaderboard import SHORT
from quorate.report.page.run import RunData
from quorate.report.page.section import Remark, Section, act, good, listed, many, note, percent
from quorate.runs.leaderboard import LeaderboardMember, LeaderboardRow, Metric, SplitName, scores_on

SURE, UNSURE = 1.5, 0.67
"""A member counts as strongly overconfident above the first temperature, and as strongly underconfident below the
second. Assumptions, not measurements."""

Number = Callable[[LeaderboardRow], float | None]


@dataclass(frozen=True)
class SortableColumn:
    """A column of the table of members; `digits` is the number of decimals, None for text."""

    title: str
    of: Callable[[LeaderboardMember], str | float | None]
    """The value of a member; None if unknown."""
    digits: int | None = None
    first: str = ""
    """The sort order after the first click, with the best value on top."""
    figure: str = ""
    """The name that the page uses for the ensemble's value; empty if the ensemble has none."""
    ensemble: Number | None = None
    """The value of the ensemble; None if it has none."""

    def format(self, row: LeaderboardRow) -> str:
        """The value of a row as text."""
        value = self.of(row) if isinstance(row, LeaderboardMember) else self.ensemble and self.ensemble(row)
        if value is None:
            return "–"
        return str(value) if self.digits is None else f"{value:.{self.digits}f}"


def section(run: RunData) -> Section:
    columns = list(_columns(run))
    return Section(
        "leaderboard",
        "Leaderboard",
        "The metrics of members are computed before temperature and weight, on the rows that they predict; those of "
        "the ensemble are cross-fitted. A high accuracy is good; NLL, ECE and Brier score should be low. T is the "
        "temperature: above 1, the member was overconfident. Click a column heading to sort.",
        list(_remarks(run)),
        {
            "columns": columns,
            "rows": run.board.ranked,
            "ensemble": run.board.ensemble,
            "growth": run.board.growth,
            "candidates": sorted(run.board.ensemble.candidates, key=lambda each: each.rank),
        },
    )


def _columns(run: RunData) -> Iterator[SortableColumn]:
    yield SortableColumn("member", lambda row: row.name, first="ascending")
    for split in run.splits:
        for name, short in SHORT.items():
            first = "descending" if name == "accuracy" else "ascending"
            title, value = f"{'OOF' if split.name == 'oof' else 'test'} {short}", _metric(split.name, name)
            yield SortableColumn(title, value, 4, first, f"{split.name}-{name}", value)
    yield SortableColumn("weight", lambda row: row.weight, 3, "descending")
    yield SortableColumn(
        "T", lambda row: row.temperature, 2, "ascending", "temperature", lambda ensemble: ensemble.temperature
    )
    yield SortableColumn("fit s", lambda row: row.fit_seconds, 1, "ascending")
    if any(row.predict_ms is not None for row in run.board.members):
        yield SortableColumn("predict ms", lambda row: row.predict_ms, 2, "ascending")
    yield SortableColumn("kind", lambda row: row.kind, first="ascending")
    yield SortableColumn("status", lambda row: row.status, first="ascending")


def _metric(split: SplitName, name: Metric) -> Number:
    def of(row: LeaderboardRow) -> float | None:
        found = scores_on(row, split)
        return found.metric(name) if found is not None else None

    return of


def _remarks(run: RunData) -> Iterator[Remark]:
    rows = run.board.members
    for status in dict.fromkeys(row.status for row in rows if row.status != "ok"):
        names = listed([row.name for row in rows if row.status == status])
        what = {
            "failed": "see its log in logs/ in the run folder",
            "failed: memory": "see the figures in logs/, and set memory, fewer workers or a smaller batch",
            "half batch": "the accelerator was out of memory, so they were trained with half of batch_size and twice "
            "accumulate",
            "diverged": "lower the learning rate, or clip gradients",
            "out of time": "start the job again with more time to continue",
            "stopped early": "start the job again with more time to train them to the end",
        }.get(status, "see logs/ in the run folder")
        yield act(f"{names}: {status}; {what}.")
    idle = [row for row in rows if not row.weight and row.status == "ok"]
    if idle and len(rows) > 1:
        share = sum(row.fit_seconds for row in idle) / max(float(run.seconds.sum()), 1e-9)
        yield note(
            f"{listed([row.name for row in idle])} {'has' if len(idle) == 1 else 'have'} weight 0 and took "
            f"{percent(share, 0)} of the fit time: the ensemble would be the same without "
            f"{'it' if len(idle) == 1 else 'them'}."
        )
    if len(rows) > 1 and not idle and all(row.status == "ok" for row in rows):
        yield good(f"All {len(rows)} members were trained to the end, and each has a weight above 0.")
    sure = [row.name for row in rows if row.temperature is not None and row.temperature >= SURE]
    unsure = [row.name for row in rows if row.temperature is not None and row.temperature <= UNSURE]
    if sure:
        yield note(
            f"{listed(sure)} {'is' if len(sure) == 1 else 'are'} strongly overconfident (T of {SURE:g} or more). "
            "The temperature corrects this. Label smoothing, mixup or more regularization can prevent it."
        )
    if unsure:
        yield note(
            f"{listed(unsure)} {'is' if len(unsure) == 1 else 'are'} strongly underconfident (T of {UNSURE:g} or "
            "less), as averages of trees often are. The temperature corrects this."
        )
    candidates, chosen = run.board.ensemble.candidates, run.board.ensemble.chosen
    if chosen is not None:
        best = min(candidates, key=lambda each: each.rank)
        why = "the best" if best.chosen else f"the simplest one within one standard error of the best, {best.name}"
        yield note(f"Of {many(len(candidates), 'combiner')}, {chosen} was chosen: {why}.")
