"""What has arrived at which tracking server: `shipped.json`, written by the shipper, read by the driver."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

NAME = "shipped.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """A part of the journal that the server will never accept, or whose file does not exist."""

    uid: str
    """The run's name in the journal."""
    what: str
    """What was refused, such as `metric loss`."""
    reason: str


@dataclass(slots=True)
class Position:
    """How far one journal has been sent to one server.

    It may lag behind the truth (the shipper was killed, the file was lost): whatever is sent twice
    arrives once, so that a position is an economy and never a promise.
    """

    journal: str = ""
    """The journal's own id: a position says nothing of another journal in the same folder."""
    offset: int = 0
    """Bytes of the journal that are settled: sent or refused."""
    sent: int = 0
    """Records in these bytes."""
    experiment_id: str = ""
    runs: dict[str, str] = field(default_factory=dict)
    """uid -> MLflow's run id."""
    open: list[str] = field(default_factory=list)
    """uids of the runs that have begun and not ended."""
    refused: list[Refusal] = field(default_factory=list)


def load(run_folder: Path, uri: str, journal: str) -> Position:
    """The position of that journal for `uri`; the beginning where nothing readable is there."""
    found = _destinations(run_folder).get(public(uri), {})
    if found.get("journal") != journal:
        return Position(journal)
    return Position(**{**found, "refused": [Refusal(**entry) for entry in found["refused"]]})


def save(run_folder: Path, uri: str, position: Position) -> None:
    """Put the position atomically; positions for other servers stay."""
    destinations = {**_destinations(run_folder), public(uri): asdict(position)}
    partial = run_folder / f".{NAME}.{os.getpid()}"
    partial.write_text(json.dumps({"version": VERSION, "destinations": destinations}, indent=1) + "\n")
    partial.replace(run_folder / NAME)


def public(uri: str) -> str:
    """`uri` without a user name and password, fit for files and messages."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _destinations(run_folder: Path) -> dict[str, dict[str, Any]]:
    path = run_folder / NAME
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return dict(content["destinations"]) if content.get("version") == VERSION else {}
