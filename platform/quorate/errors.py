"""Define the errors that a user can fix, and the parts of their messages."""

from __future__ import annotations

import contextlib
import difflib
import re
import signal
from collections.abc import Iterator
from pathlib import Path


class UserError(ValueError):
    """An error that a user can fix; commands print its message without a traceback and exit with code 2."""


class MachineError(UserError):
    """An error of one machine; the same work can succeed on another, or when it is repeated."""


_SECRET_VALUE = re.compile(r"([?&][^=&\s]*(?:pass|secret|token|key|sig|cred|auth)[^=&\s]*=)[^&\s'\"]*", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """`text` whose URLs lack user names and passwords, and the values of parameters with names such as `password`."""
    return _SECRET_VALUE.sub(r"\1…", re.sub(r"//[^/\s]*@", "//", text))


def did_you_mean(word: str, choices: list[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the choice closest to `word`, or an empty string."""
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def no_member(member: str, names: list[str]) -> UserError:
    """The error for a member that a job does not have; `names` are those of its members."""
    return UserError(f"the job has no member {member!r}{did_you_mean(member, names)} (its members: {', '.join(names)})")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add `path` to an `OSError` without a file name: errors of `write` lack it, unlike errors of `open`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


class Interrupted(BaseException):  # so that no library's `except Exception` catches it
    """The command was stopped by a signal; everything that is finished or checkpointed is kept."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
