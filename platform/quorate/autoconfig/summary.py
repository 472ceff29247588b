"""A fingerprint as text, for the terminal and for the comments of the job file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from quorate.autoconfig.fingerprint import ColumnFacts, Fingerprint, ImageFacts, TableFacts
from quorate.autoconfig.folder import NAMED
from quorate.quantities import format_bytes

SHOWN = 40
"""Maximum number of columns, and of classes, to list."""

Row = tuple[str, str]
"""A topic and the finding."""


def describe_facts(fingerprint: Fingerprint) -> list[Row]:
    """The fingerprint, one line per fact."""
    shown = fingerprint.source.given.shown
    return [(what, clean(shown(said))) for what, said in _rows(fingerprint)]


def _rows(fingerprint: Fingerprint) -> Iterator[Row]:
    facts, source = fingerprint.facts, fingerprint.source
    yield "training rows", f"{fingerprint.rows:,} in {source.train}"
    if fingerprint.test_rows is not None:
        yield "test rows", f"{fingerprint.test_rows:,} in {source.test}"
    yield "size", format_bytes(fingerprint.bytes)
    if isinstance(facts, TableFacts):
        yield (
            "label",
            facts.label + (f" (a guess: {facts.guess}; choose another with --label COLUMN)" if facts.guess else ""),
        )
    yield "classes", _classes(fingerprint)
    if isinstance(facts, ImageFacts):
        yield from _images(facts)
    else:
        yield "columns", _columns(facts)
    yield "repeated rows", _repeats(fingerprint)
    for note in fingerprint.partly:
        yield "partly checked", note
    for note in fingerprint.notes:
        yield "note", note


def column_lines(facts: TableFacts) -> list[tuple[str, str, str, str, str]]:
    """Name, kind, missing, distinct values and a remark of each column, at most `SHOWN` of them."""
    lines: list[tuple[str, str, str, str, str]] = [
        (clean(column.name), column.kind or "–", f"{column.missing:.1%}", f"{column.distinct:,}", _remark(column))
        for column in facts.columns[:SHOWN]
    ]
    if len(facts.columns) > SHOWN:
        lines.append((f"and {len(facts.columns) - SHOWN:,} more", "", "", "", ""))
    return lines


def as_json(fingerprint: Fingerprint) -> dict[str, Any]:
    """The fingerprint as JSON values."""
    facts: Mapping[str, Any] = asdict(fingerprint.facts)
    source, shown = fingerprint.source, fingerprint.source.given.shown
    if isinstance(fingerprint.facts, ImageFacts):
        facts = {**facts, "corrupt": list(map(shown, fingerprint.facts.corrupt))}
    return {
        "kind": source.kind,
        "train": shown(str(source.train)),
        "test": None if source.test is None else shown(str(source.test)),
        "rows": fingerprint.rows,
        "test_rows": fingerprint.test_rows,
        "classes": dict(fingerprint.classes),
        "imbalance": round(fingerprint.imbalance, 2),
        "bytes": fingerprint.bytes,
        "repeats": asdict(fingerprint.repeats),
        ("table" if isinstance(fingerprint.facts, TableFacts) else "images"): facts,
        "partly": list(map(shown, fingerprint.partly)),
        "notes": list(map(shown, fingerprint.notes)),
    }


def clean(text: str) -> str:
    """The text on one line, with only characters that terminals and YAML readers accept."""
    printable = "".join(mark if mark.isprintable() else "�" for mark in " ".join(text.split()))
    return printable.encode("utf-8", "replace").decode("utf-8")


def first_names(names: Sequence[str], most: int = NAMED) -> str:
    """The first `most` names, and the number of the remaining ones."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _classes(fingerprint: Fingerprint) -> str:
    classes = fingerprint.classes
    listed = first_names([f"{name} {count:,}" for name, count in classes.items()], SHOWN)
    ratio = fingerprint.imbalance
    balance = "balanced" if ratio < 1.5 else f"the largest class has {ratio:.1f} times as many rows as the smallest"
    return f"{len(classes)}: {listed} ({balance})"


def _images(facts: ImageFacts) -> Iterator[Row]:
    yield "height, width", f"{facts.height}; {facts.width} (pixels)"
    colour = {1: "grey", 3: "colour"}.get(facts.channels, f"{facts.channels} channels")
    part = f", {facts.grey:.0%} of the images are grey" if 0 < facts.grey < 1 and facts.channels == 3 else ""
    yield "colour", colour + part
    if facts.files:
        yield "corrupt files", f"{len(facts.corrupt):,} of {facts.files:,}" if facts.corrupt else "none"
    for line in facts.corrupt[:NAMED]:
        yield "", line
    if len(facts.corrupt) > NAMED:
        yield "", f"and {len(facts.corrupt) - NAMED:,} more"


def _columns(facts: TableFacts) -> str:
    features = [column for column in facts.columns if not column.ignore]
    kinds = [column.kind for column in features]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("numeric", "categorical", "boolean") if kind in kinds)
    ignored = len(facts.columns) - len(features)
    return counts + (f"; {ignored} ignored" if ignored else "")


def _repeats(fingerprint: Fingerprint) -> str:
    repeats, total = fingerprint.repeats, fingerprint.rows
    table = isinstance(fingerprint.facts, TableFacts)
    parts = []
    if repeats.train:
        parts.append(f"duplicates of other training rows: {repeats.train:,} ({repeats.train / total:.1%})")
    if repeats.labels:
        parts.append(f"duplicates with different labels: {repeats.labels:,}")
    if repeats.test:
        leak = "" if table else "; this leak makes the test metrics too optimistic"
        parts.append(f"test rows that are also training rows: {repeats.test:,}{leak}")
    return "; ".join(parts) or "none"


def _remark(column: ColumnFacts) -> str:
    return clean(f"ignored: {column.ignore}") if column.ignore else ""
