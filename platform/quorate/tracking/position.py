"""Read and write `shipped.json`: how much of a journal has arrived at each tracking server."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from quorate.errors import without_secrets

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
    try:
        saved = _position(_destinations(run_folder)[without_secrets(uri)])
    except (KeyError, ValueError):
        return Position(journal)
    return saved if saved.journal == journal else Position(journal)


def save(run_folder: Path, uri: str, position: Position) -> None:
    """Write the position atomically; the positions of other servers stay. The server is no longer unreachable."""
    _write(run_folder, {**_destinations(run_folder), without_secrets(uri): asdict(position)})


def save_outage(run_folder: Path, uri: str, reason: str) -> None:
    """Note that the server cannot be reached now; `save` ends it."""
    _write(run_folder, _destinations(run_folder), {without_secrets(uri): reason})


def outage(run_folder: Path, uri: str) -> str:
    """Why the server cannot be reached; empty if nothing is known about it."""
    unreachable = _content(run_folder).get("unreachable", {})
    return str(unreachable.get(without_secrets(uri), "")) if isinstance(unreachable, dict) else ""


def _write(run_folder: Path, destinations: dict[str, Any], unreachable: dict[str, str] | None = None) -> None:
    content = {
        "version": VERSION,
        "destinations": destinations,
        **({"unreachable": unreachable} if unreachable else {}),
    }
    partial = run_folder / f".{NAME}.{os.getpid()}"
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(run_folder / NAME)


def _destinations(run_folder: Path) -> dict[str, Any]:
    """The saved positions by server, which `_position` reads."""
    destinations = _content(run_folder).get("destinations")
    return destinations if isinstance(destinations, dict) else {}


def _content(run_folder: Path) -> dict[str, Any]:
    """The content of the file; nothing if it is missing, damaged, or of another version."""
    try:
        content = json.loads((run_folder / NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("version") == VERSION else {}


def _position(saved: object) -> Position:
    """Read one position. Every version wrote all fields and no others; raises `ValueError` if that is not so."""
    values = _with_fields(saved, Position)
    runs, opened, refused = values["runs"], values["open"], values["refused"]
    if not (isinstance(runs, dict) and isinstance(opened, list) and isinstance(refused, list)):
        raise ValueError("a list is missing")
    texts = (values["journal"], values["experiment_id"], *runs.values(), *opened)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a text is missing")
    if not all(type(number) is int and number >= 0 for number in (values["offset"], values["sent"])):
        raise ValueError("a number is missing")
    return Position(**values | {"refused": [_refusal(entry) for entry in refused]})


def _refusal(saved: object) -> Refusal:
    values = _with_fields(saved, Refusal)
    if not all(isinstance(text, str) for text in values.values()):
        raise ValueError("a text is missing")
    return Refusal(**values)


def _with_fields(saved: object, record: type) -> dict[str, Any]:
    """The object with exactly the fields of the record; raises `ValueError`."""
    if not isinstance(saved, dict) or saved.keys() != {each.name for each in fields(record)}:
        raise ValueError(f"not a {record.__name__}")
    return saved
