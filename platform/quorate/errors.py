"""The base of every error that a user can mend, and the words that help to."""

from __future__ import annotations

import difflib
import signal


class UserError(ValueError):
    """What is wrong, where, and what to do; commands print it without a traceback and end with code 2."""


def did_you_mean(word: str, choices: list[str]) -> str:
    """``"; did you mean 'x'?"`` for the choice nearest to `word`, or an empty string."""
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


class Interrupted(BaseException):  # no library's `except Exception` may swallow it
    """A signal asked the command to end; everything that was finished or checkpointed is kept."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
