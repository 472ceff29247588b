"""Read and write the lines of a journal.

A line is a JSON object. Its key `kind` names the class of the record; the other keys are the fields, in their order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from quorate.errors import UserError
from quorate.tracking.records import (
    VERSION,
    ArtifactRecord,
    AttemptRecord,
    CloseRecord,
    Context,
    DatasetRecord,
    EndRecord,
    HeaderRecord,
    MetricsRecord,
    ModelRecord,
    Outcome,
    RankingRecord,
    Record,
    RunRecord,
    Status,
    TagsRecord,
)


class JournalError(UserError):
    """This version of Quorate cannot read a journal, because a later version wrote it or because a record lacks a
    field."""


class LaterJournalError(JournalError):
    """A later version of Quorate wrote the journal."""


def parse(line: bytes, path: Path) -> Record | None:
    """Read a line of the journal at `path`.

    Returns None for a line that a crash cut short, and for a kind of record that a later version of Quorate added.

    Raises:
        LaterJournalError: the line is the header of a later version.
        JournalError: a field is missing or has a wrong value.
    """
    try:
        content = json.loads(line)
    except ValueError:  # including UnicodeDecodeError, for a line that was cut inside a character
        return None
    kind = content.get("kind") if isinstance(content, dict) else None
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        return None
    try:
        return read(content)
    except _LaterVersion as later:
        raise LaterJournalError(
            f"{path} has journal version {later}, but this Quorate reads versions up to {VERSION}; upgrade Quorate"
        ) from None
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        reason = f"has no field {error}" if isinstance(error, KeyError) else f"is not valid ({error})"
        raise JournalError(
            f"{path} is damaged: a record of kind {kind!r} {reason}; restore the file from a copy, or remove it (the "
            "models stay, but learning curves and records for MLflow are lost)"
        ) from None


def serialize(record: Record) -> bytes:
    """The line of a record, with a line feed. NaN and infinities, which JSON lacks, become text."""
    content = {"kind": record.kind, **{name: getattr(record, name) for name in _FIELDS[type(record)]}}
    match record:
        case MetricsRecord():
            content["values"] = _finite_or_text(record.values)
        case ModelRecord():
            content["metrics"] = _finite_or_text(record.metrics)
    return json.dumps(content, allow_nan=False, default=_plain).encode() + b"\n"


class _LaterVersion(Exception):
    """The version of a header is later than `VERSION`."""


def _header(content: Mapping[str, Any]) -> HeaderRecord:
    version = _integer(content["version"])
    if version > VERSION:  # before the other fields, which a later version may lack
        raise _LaterVersion(version)
    if version < 1:
        raise ValueError(f"{version} is no version")
    return HeaderRecord(
        version=version,
        run=_text(content["run"]),
        experiment=_text(content["experiment"]),
        user=_text(content["user"]),
        source=_text(content["source"]),
    )


def _run(content: Mapping[str, Any]) -> RunRecord:
    return RunRecord(
        uid=_text(content["uid"]),
        name=_text(content["name"]),
        parent=None if content["parent"] is None else _text(content["parent"]),
        tags=_texts(content["tags"]),
        params=_texts(content["params"]),
        start_ms=_integer(content["start_ms"]),
    )


def _metrics(content: Mapping[str, Any]) -> MetricsRecord:
    return MetricsRecord(
        _text(content["uid"]),
        _integer(content["step"]),
        _numbers(content["values"]),
        _integer(content["timestamp_ms"]),
    )


def _tags(content: Mapping[str, Any]) -> TagsRecord:
    return TagsRecord(_text(content["uid"]), _texts(content["tags"]))


def _artifact(content: Mapping[str, Any]) -> ArtifactRecord:
    return ArtifactRecord(_text(content["uid"]), _text(content["path"]), _text(content["folder"]))


def _dataset(content: Mapping[str, Any]) -> DatasetRecord:
    signature, context = content.get("signature"), content["context"]
    if context not in get_args(Context):
        raise ValueError(f"{context!r} is no context")
    return DatasetRecord(
        uid=_text(content["uid"]),
        name=_text(content["name"]),
        source=_text(content["source"]),
        digest=_text(content["digest"]),
        profile=_mapping(content["profile"]),
        context=context,
        signature=None if signature is None else _mapping(signature),
    )


def _model(content: Mapping[str, Any]) -> ModelRecord:
    return ModelRecord(
        uid=_text(content["uid"]),
        bundle=_text(content["bundle"]),
        name=_text(content["name"]),
        run=_text(content.get("run", "")),
        note=_text(content.get("note", "")),
        metrics=_numbers(content.get("metrics", {})),
        pictures=tuple(map(_text, content.get("pictures", ()))),
    )


def _ranking(content: Mapping[str, Any]) -> RankingRecord:
    searched = tuple(map(_text, content.get("searched", ())))  # earlier versions did not write it, nor the metric
    return RankingRecord(
        _text(content["uid"]), _text(content["run"]), searched, _text(content.get("metric", "oof_nll"))
    )


def _end(content: Mapping[str, Any]) -> EndRecord:
    status = content["status"]
    if status not in get_args(Status):
        raise ValueError(f"{status!r} is no status")
    return EndRecord(_text(content["uid"]), status, _integer(content["end_ms"]))


def _attempt(content: Mapping[str, Any]) -> AttemptRecord:
    outcome = content["outcome"]
    if outcome not in get_args(Outcome):
        raise ValueError(f"{outcome!r} is no outcome")
    return AttemptRecord(
        task=_text(content["task"]),
        attempt=_integer(content["attempt"]),
        worker=_text(content["worker"]),
        start_ms=_integer(content["start_ms"]),
        end_ms=_integer(content["end_ms"]),
        outcome=outcome,
        restored=content.get("restored") is True,
        queued_ms=None if content.get("queued_ms") is None else _integer(content["queued_ms"]),
    )


def _close(content: Mapping[str, Any]) -> CloseRecord:
    return CloseRecord()


_READERS: dict[str, Callable[[Mapping[str, Any]], Record]] = {
    HeaderRecord.kind: _header,
    RunRecord.kind: _run,
    MetricsRecord.kind: _metrics,
    TagsRecord.kind: _tags,
    ArtifactRecord.kind: _artifact,
    DatasetRecord.kind: _dataset,
    ModelRecord.kind: _model,
    RankingRecord.kind: _ranking,
    EndRecord.kind: _end,
    AttemptRecord.kind: _attempt,
    CloseRecord.kind: _close,
}
_FIELDS = {record: tuple(each.name for each in fields(record)) for record in get_args(Record)}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not an integer")
    return value


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return value


def _texts(value: object) -> dict[str, str]:
    return {key: str(each) for key, each in _mapping(value).items()}


def _numbers(value: object) -> dict[str, float]:
    return {key: float(each) for key, each in _mapping(value).items()}  # float also reads "nan" and "inf"


def _finite_or_text(values: Mapping[str, float]) -> dict[str, float | str]:
    return {key: value if math.isfinite(value) else str(value) for key, value in values.items()}


def _plain(value: object) -> object:
    """Convert a value that JSON lacks: a mapping to an object, anything else to text."""
    return dict(value) if isinstance(value, Mapping) else str(value)
