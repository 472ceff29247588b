"""Shades of a matrix: few levels with a class name each, so that figures in them keep their contrast in both themes."""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = 7


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, how it is shaded, and what it says when pointed at."""

    words: str
    style: str
    title: str = ""


def level(share: float) -> str:
    """`h0` to `h7` of a share from 0 to 1; nothing but 0 itself is `h0`."""
    return f"h{min(int(share * LEVELS) + 1, LEVELS) if share > 0 else 0}"
