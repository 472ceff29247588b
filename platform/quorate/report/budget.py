"""Describe in a few lines what was stopped or skipped because of a budget."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from quorate.runs.leaderboard import LateTask, LeaderboardBudget, StoppedTask

_LEFT_OUT = {
    "report.html": "no time for the report: `quorate report --run {run}` writes it",
    "pictures": "no time for all pictures: `quorate curves --run {run}` draws the learning curves",
    "train_dev": "no time for the metrics on the train-dev rows: start the job without a budget to get them",
}
"""Messages by the values of `left_out` in a leaderboard."""


def as_lines(part: LeaderboardBudget, run: str) -> list[str]:
    """The lines for the `budget` of a leaderboard; `run` is the name of the run."""
    lines = [f"budget {format_duration(part.seconds)}, used {format_duration(part.used_seconds)}"]
    if below := part.below_quorum:
        lines.append(f"  below the quorum: members ready in time: {below.members}; required: {below.needed}")
    if left_out := [f"{label} {_folds(tasks)}" for label, tasks in _by_member(part.out_of_time)]:
        lines.append("  no time for: " + ", ".join(left_out))
    if stopped := part.stopped_early:
        lines.append("  stopped early: " + ", ".join(map(_stopped, stopped)))
    lines += [f"  not in the ensemble: {row.member}, {row.reason}" for row in part.not_counted]
    if part.rows < part.of_rows:
        folds = f"{part.folds} of {part.of_folds} folds, " if part.folds is not None else ""
        lines.append(f"  the combination was fitted on {folds}{part.rows:,} of {part.of_rows:,} rows")
    if untested := part.untested:
        lines.append(
            f"  no time to predict the test rows: {', '.join(untested)}; run `quorate evaluate DATA --run {run}`, or "
            "start the job again without a budget"
        )
    lines += [f"  {_LEFT_OUT[what].format(run=run)}" for what in part.left_out]
    if left_out or stopped:
        lines.append("  start the job again with more time to continue from here")
    return lines


def format_duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    hours, rest = divmod(round(whole / 60), 60)
    return f"{hours} h" + (f" {rest} min" if rest else "")


def ranges(numbers: Iterable[int]) -> str:
    """Format sorted numbers as `1, 3-5`."""
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    parts = [[number for _, number in run] for _, run in runs]
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _by_member(tasks: Iterable[LateTask]) -> list[tuple[str, list[LateTask]]]:
    found: dict[str, list[LateTask]] = {}
    for task in tasks:
        found.setdefault(task.member, []).append(task)
    return list(found.items())


def _folds(tasks: list[LateTask]) -> str:
    return f"fold{'s' if len(tasks) > 1 else ''} {ranges(sorted(task.fold for task in tasks))}"


def _stopped(stopped: StoppedTask) -> str:
    task = f"{stopped.member} fold {stopped.fold}"
    if not stopped.epochs_done:
        return f"{task} in its first epoch"
    best = f" (best: {stopped.best_epoch})" if stopped.best_epoch else ", none of them with labels"
    return f"{task} after {stopped.epochs_done} of {stopped.epochs} epochs{best}"
