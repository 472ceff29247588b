"""How a job ended that another process ran."""

from __future__ import annotations

from dataclasses import dataclass

from quorate.runs.leaderboard import Leaderboard


@dataclass(frozen=True)
class FollowedJob:
    """How a job in another process ended."""

    code: int
    """Its exit code."""
    message: str
    run: str = ""
    """The address of its run."""
    board: Leaderboard | None = None
    """None if it did not finish, and if its run cannot be read here."""
    error: str = ""
    """The error that its driver printed last; empty if there is none, and if it is not known."""
