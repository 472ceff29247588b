"""The base of every error that a user can fix, and what its message is made of."""

from __future__ import annotations

import contextlib
import difflib
import signal
from collections.abc import Iterator
from pathlib import Path


class UserError(ValueError):
    """What is wrong, where, and what to do; commands print it without a traceback and end with code 2."""


def did_you_mean(word: str, choices: list[str]) -> str:
    """``"; did you mean 'x'?"`` for the choice nearest to `word`, or an empty string."""
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an error of the operating system the path that it lacks: `write` knows no name, other than `open`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


class Interrupted(BaseException):  # no library's `except Exception` may swallow it
    """A signal asked the command to end; everything that was finished or checkpointed is kept."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
