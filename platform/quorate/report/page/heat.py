"""Shades of matrix cells: a few levels with one CSS class each, so that numbers are readable in the light and the dark
theme."""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = 7
"""Number of shades besides the empty one."""


@dataclass(frozen=True)
class Cell:
    """The text of a cell, its CSS classes, and its tooltip."""

    words: str
    style: str
    title: str = ""


def level(share: float) -> str:
    """CSS class `h0` to `h7` of a fraction from 0 to 1; only 0 itself gives `h0`."""
    return f"h{min(int(share * LEVELS) + 1, LEVELS) if share > 0 else 0}"
