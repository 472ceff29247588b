"""Define the error for a run that is missing, unfinished or damaged."""

from __future__ import annotations

from quorate.errors import UserError


class RunError(UserError):
    """A run does not exist, did not finish, or cannot be read."""


class LaterVersionError(RunError):
    """A later version of Quorate wrote a file of the run."""
