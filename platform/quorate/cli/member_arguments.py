"""Arguments of the commands that work on one member of a job, and a check of the output file for a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from quorate.spec import Job

JobArgument = Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)]
MemberArgument = Annotated[
    str, typer.Argument(metavar="MEMBER", help="Name of a member of the job.", show_default=False)
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
    """Raise `UserError` before any work is done if no picture can be written to `path`."""
    from quorate.errors import UserError

    if path is None:
        return
    if path.suffix.lower() not in PICTURES:
        raise UserError(f"-o {path}: the file name must end with one of {', '.join(PICTURES)}")
    if path.is_dir():
        raise UserError(f"-o {path} is a folder; give a file name")
    if not path.absolute().parent.is_dir():
        raise UserError(f"-o {path}: the folder {path.absolute().parent} does not exist")
