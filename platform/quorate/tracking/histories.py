"""The learning curves of a run from its journal, whether it has ended or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from quorate.tracking import journal
from quorate.tracking.journal import Record


@dataclass
class MemberHistory:
    """What the journal has of one member."""

    kind: str
    restored: bool
    """Whether early stopping restored the weights of the best epoch."""
    histories: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    """By the name of the fit task, such as `cnn.2 fold 1`; figures of one epoch after the other."""


def histories(path: Path) -> dict[str, MemberHistory]:
    """By the member's name, in the order in which they began; an epoch that was trained twice counts as it was last."""
    members: dict[str, MemberHistory] = {}
    names: dict[str, tuple[str, str]] = {}
    epochs: dict[str, dict[int, dict[str, float]]] = {}
    for record in records(path):
        if record["kind"] == "run" and record["tags"].get("quorate.level") == "member":
            tags = record["tags"]
            # journals of former versions have one record for all copies of a member, named after the member
            name = tags.get("quorate.recipe", record["name"])
            members.setdefault(name, MemberHistory(tags.get("quorate.kind", ""), _stops(record)))
        elif record["kind"] == "run" and record["params"].get("view"):
            continue  # it has the curves of the run that it came with
        elif record["kind"] == "run" and record["tags"].get("quorate.level") == "fold":
            names[record["uid"]] = (record["params"]["member"], record["name"])
            members[record["params"]["member"]].restored |= _stops(record)
        elif record["kind"] == "metrics" and record["uid"] in names:
            values = {name: float(value) for name, value in record["values"].items()}
            epochs.setdefault(record["uid"], {})[record["step"]] = values
    for uid, steps in epochs.items():
        member, name = names[uid]
        members[member].histories[name] = [steps[step] for step in sorted(steps)]
    return members


def _stops(record: Record) -> bool:
    """Whether the recipe of a run has early stopping; former versions wrote parameters without a value too."""
    said = [name for name, value in record["params"].items() if value != "None"]
    return any(name.partition(".")[0] == "early_stopping" for name in said)


def records(path: Path) -> Iterator[Record]:
    """All that a journal has, read piece by piece."""
    offset = 0
    while True:
        records, end = journal.read(path, offset)
        if end == offset:
            return
        yield from records
        offset = end
