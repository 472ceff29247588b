"""Read and write `shipped.json`: how much of a journal has arrived at each tracking server."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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


def load(run_folder: Path, uri: str, journal: str) -> Position:
    """The position of the journal with the id `journal` at `uri`; the beginning if there is none or the file is
    damaged."""
    found = _destinations(run_folder).get(public(uri), {})
    if found.get("journal") != journal:
        return Position(journal)
    return Position(**{**found, "refused": [Refusal(**entry) for entry in found["refused"]]})


def save(run_folder: Path, uri: str, position: Position) -> None:
    """Write the position atomically; the positions of other servers stay."""
    destinations = {**_destinations(run_folder), public(uri): asdict(position)}
    partial = run_folder / f".{NAME}.{os.getpid()}"
    partial.write_text(json.dumps({"version": VERSION, "destinations": destinations}, indent=1) + "\n")
    partial.replace(run_folder / NAME)


def public(uri: str) -> str:
    """`uri` without user name and password, for files and messages."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _destinations(run_folder: Path) -> dict[str, dict[str, Any]]:
    path = run_folder / NAME
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return dict(content["destinations"]) if content.get("version") == VERSION else {}
