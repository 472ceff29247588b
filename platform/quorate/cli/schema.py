"""`quorate schema`: print the JSON Schema of job files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def schema(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write. Default: standard output.")
    ] = None,
) -> None:
    """Print the JSON Schema (2020-12) of job files, including the kinds of installed packages, for use in editors."""
    from quorate.errors import UserError
    from quorate.spec.schema import job_schema

    text = json.dumps(job_schema(), indent=1, ensure_ascii=False) + "\n"
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from None
    typer.echo(f"make this the first line of a job file: # yaml-language-server: $schema={output}")
