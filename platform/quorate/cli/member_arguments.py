"""What the commands that ask one member of a job share: their arguments, and where pictures may go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from quorate.spec import Job

JobArgument = Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)]
MemberArgument = Annotated[
    str, typer.Argument(metavar="MEMBER", help="A member of the job by its name.", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value, e.g. members.cnn.lr=0.1; repeatable."),
]

PICTURES = (".png", ".svg", ".pdf")


def read_job(job_file: Path, override: list[str] | None) -> Job:
    from quorate.spec import load_job

    return load_job(job_file, override or [])


def check_picture(path: Path | None) -> None:
    """Raise `UserError` before any work where no picture could be written to `path`."""
    from quorate.errors import UserError

    if path is None:
        return
    if path.suffix.lower() not in PICTURES:
        raise UserError(f"-o {path}: the ending must be one of {', '.join(PICTURES)}")
    if path.is_dir():
        raise UserError(f"-o {path}: this is a folder; name a file")
    if not path.absolute().parent.is_dir():
        raise UserError(f"-o {path}: there is no folder {path.absolute().parent}")
