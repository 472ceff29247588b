"""Define the errors for a run that is missing, unfinished or damaged, or that its bucket does not take."""

from __future__ import annotations

from quorate.errors import UserError


class RunError(UserError):
    """A run does not exist, did not finish, or cannot be read."""


class LaterVersionError(RunError):
    """A later version of Quorate wrote a file of the run."""


class RunNotSent(RuntimeError):
    """A finished run could not be sent to its bucket; it is kept in its folder on this machine."""
