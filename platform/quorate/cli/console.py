"""The console that commands print to."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

    from quorate.errors import Interrupted


def make_console(*, stderr: bool = False, highlight: bool = True, quiet: bool = False) -> Console:
    """A console as wide as the terminal, or as COLUMNS if set; lines that are written to a pipe or a file are not
    wrapped.

    Markup and emoji are off, because rich would interpret some names of classes, columns and files.
    """
    from rich.console import Console

    from quorate.report.columns import UNLIMITED

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS", "").isdigit() else UNLIMITED
    return Console(stderr=stderr, highlight=highlight, width=width, quiet=quiet, markup=False, emoji=False)


def end_interrupted(console: Console, interrupted: Interrupted, *, kept: str) -> NoReturn:
    """Say what of an interrupted command is `kept`, and end with 128 + the number of the signal."""
    console.print(
        f"interrupted ({interrupted}); {kept} are kept; run the same command to continue",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    console.file.flush()
    sys.exit(128 + interrupted.signum)
