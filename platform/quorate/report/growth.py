"""Describe in a few lines what a growing job has added, and why it ended."""

from __future__ import annotations

from quorate.runs.leaderboard import LeaderboardGrowth, TriedMember


def as_lines(growth: LeaderboardGrowth) -> list[str]:
    """The lines for the `growth` of a leaderboard."""
    added = [one for one in growth.tried if one.added]
    useless = [one.name for one in growth.tried if not one.added and one.loss is not None]
    lines = ["grown: nothing was tried"]
    if growth.tried:
        lines = [f"grown: {len(added)} of {len(growth.tried)} additions lowered the cross-fitted loss"]
    if added:
        lines[0] += f" from {_number(growth.loss)} to {_number(added[-1].loss)}: {', '.join(map(_named, added))}"
    if useless:
        lines.append(f"  brought nothing: {', '.join(useless)}")
    lines += [f"  not added: {one.name}, {one.note}" for one in growth.tried if one.loss is None]
    return [*lines, f"  ended because {growth.ended}"]


def _named(one: TriedMember) -> str:
    return f"{one.name} ({_number(one.loss)})"


def _number(loss: float | None) -> str:
    return "unknown" if loss is None else f"{loss:.4f}"
