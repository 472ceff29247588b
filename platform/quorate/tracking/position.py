"""Read and write `shipped.json`: how much of a journal has arrived at each tracking server."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

NAME = "shipped.json"
VERSION = 1
"""Version of `shipped.json`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A part of the journal that the server will never accept, or that refers to a missing file."""

    uid: str
    """The run's name in the journal."""
    what: str
    """What was refused, such as `metric loss`."""
    reason: str


@dataclass(slots=True)
class Position:
    """How far one journal has been sent to one server.

    The server may have more records than the position records, for example after the shipper was killed. Records that
    are sent twice are stored once, so a position only saves work.
    """

    journal: str = ""
    """The id of the journal; a position does not apply to another journal in the same folder."""
    offset: int = 0
    """Number of bytes of the journal that were sent or refused."""
    sent: int = 0
    """Number of records in these bytes."""
    experiment_id: str = ""
    runs: dict[str, str] = field(default_factory=dict)
    """MLflow's run ids by `uid`."""
    open: list[str] = field(default_factory=list)
    """The `uid` of each run that has started and not ended."""
    refused: list[Refusal] = field(default_factory=list)


class _SavedRefusal(BaseModel):
    """A `Refusal` in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uid: str
    what: str
    reason: str


class _SavedPosition(BaseModel):
    """A `Position` in the file. Every version writes all fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    journal: str
    offset: NonNegativeInt
    sent: NonNegativeInt
    experiment_id: str
    runs: dict[str, str]
    open: list[str]
    refused: list[_SavedRefusal]


class _SavedFile(BaseModel):
    """The content of `shipped.json`. Each position is validated on its own, so that damage to one keeps the others."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1]  # `VERSION`
    destinations: Mapping[str, Any]


M = TypeVar("M", bound=BaseModel)


def load(run_folder: Path, uri: str, journal: str) -> Position:
    """The position of the journal with the id `journal` at `uri`; the beginning if there is none or the file is
    damaged."""
    saved = _valid(_SavedPosition, _destinations(run_folder).get(public(uri)))
    if saved is None or saved.journal != journal:
        return Position(journal)
    refused = [Refusal(entry.uid, entry.what, entry.reason) for entry in saved.refused]
    return Position(journal, saved.offset, saved.sent, saved.experiment_id, saved.runs, saved.open, refused)


def save(run_folder: Path, uri: str, position: Position) -> None:
    """Write the position atomically; the positions of other servers stay."""
    destinations = {**_destinations(run_folder), public(uri): asdict(position)}
    partial = run_folder / f".{NAME}.{os.getpid()}"
    partial.write_text(json.dumps({"version": VERSION, "destinations": destinations}, indent=1) + "\n")
    partial.replace(run_folder / NAME)


def public(uri: str) -> str:
    """`uri` without user name and password, for files and messages."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _destinations(run_folder: Path) -> Mapping[str, Any]:
    """The positions in the file by server; none if it is missing, damaged, or of another version."""
    path = run_folder / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    saved = _valid(_SavedFile, content)
    return saved.destinations if saved is not None else {}


def _valid(model: type[M], content: object) -> M | None:
    try:
        return model.model_validate(content)
    except ValidationError:
        return None
