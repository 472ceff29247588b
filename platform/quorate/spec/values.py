"""Values of job files that are checked as they are read: paths, URLs, sizes, times and names."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from quorate.quantities import SIZE, TIME, read_bytes, read_seconds

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
"""The pattern of the names of jobs and members."""


PathLookup = Callable[[Path, Callable[[Path], Path]], Path]
"""Finds a file or folder that a job file names; its second argument finds it on this machine. Raises `ValueError`."""


def _given_path(value: Path, info: ValidationInfo) -> Path:
    context = info.context or {}
    if context.get("read_before"):
        return value
    here = partial(_existing_path, base=context.get("base", Path()))
    lookup: PathLookup | None = context.get("lookup")
    return here(value) if lookup is None else lookup(value, here)


def _existing_path(value: Path, base: Path) -> Path:
    """Resolve a path from the job file's folder, or else from the current folder (for paths in shell variables)."""
    for folder in (base, Path()):
        try:
            path = folder / value.expanduser()
            if path.exists():
                return path.absolute()
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{str(value)[:80]!r} is not a usable path: {error}") from None
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(value)):  # `Path` has removed the second slash
        raise PydanticCustomError(OTHER_BRANCH, "is a URL; this key takes a path of this machine")
    raise ValueError(f"there is no {str(value)!r}, neither in the job file's folder nor in {Path.cwd()}")


ExistingPath = Annotated[Path, AfterValidator(_given_path)]
"""An existing file or folder; its path is relative to the job file's folder, or else to the current folder."""


HIDDEN_QUERY = "?(not recorded)"
"""In the record of a run, the query of a URL."""


def _given_url(value: str, info: ValidationInfo) -> str:
    if value.endswith(HIDDEN_QUERY) and not (info.context or {}).get("read_before"):
        raise ValueError(
            "the record of a run does not keep the query of a URL, because it can hold a secret; to read the data "
            "again, download the file and start the job with its path"
        )
    if not is_url(value):
        raise PydanticCustomError(OTHER_BRANCH, "is not a URL")
    check_url(value)
    return value


def is_url(value: str) -> bool:
    """Return whether a value has the form of a URL."""
    scheme, separator, _ = value.partition("://")
    return bool(separator) and "/" not in scheme


def check_url(value: str) -> None:
    """Raise `ValueError` if a URL cannot name data."""
    scheme, _, rest = value.partition("://")
    if scheme not in DATA_SCHEMES:
        choices = ", ".join(f"{name}://" for name in DATA_SCHEMES)
        raise ValueError(f"{scheme}:// is not one of {choices}")
    host, _, path = rest.partition("/")
    if "@" in host:  # not repeated in the message, as it may be a secret
        raise ValueError("a URL must not contain credentials; set them as environment variables")
    if not host or not path:
        raise ValueError(f"{value.partition('?')[0]!r} lacks the path of a file or folder")


DATA_SCHEMES = ("s3", "gs", "az", "https", "http")
OTHER_BRANCH = "other_branch"
"""The type of an error about a value that another branch of a union may accept."""

Url = Annotated[str, AfterValidator(_given_url)]
"""The URL of a file or folder: `s3://bucket/path`, `gs://bucket/path`, `az://container/path`, `https://host/path`."""

DataPath = ExistingPath | Url
"""A file or folder of this machine, or its URL."""


def _size(value: object) -> object:
    return read_bytes(value) if isinstance(value, str) else value


Bytes = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=0),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": SIZE, "examples": ["2GiB"]}]}
    ),
]
"""A number of bytes, or text such as `2GiB`."""


def _time(value: object) -> object:
    return read_seconds(value) if isinstance(value, str) else value


Seconds = Annotated[
    float,
    BeforeValidator(_time),
    Field(gt=0, allow_inf_nan=False),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": TIME, "examples": ["300s", "20m", "2h"]},
            ]
        }
    ),
]
"""A number of seconds, or text such as `20m`."""
