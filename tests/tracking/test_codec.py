"""The lines of a journal: each kind of record is written and read, and earlier journals are read too."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import MappingProxyType
from typing import get_args

import pytest

from quorate.errors import UserError
from quorate.tracking.codec import parse, serialize
from quorate.tracking.records import (
    ArtifactRecord,
    AttemptRecord,
    CloseRecord,
    DatasetRecord,
    EndRecord,
    HeaderRecord,
    MetricsRecord,
    ModelRecord,
    RankingRecord,
    Record,
    RunRecord,
    TagsRecord,
)

PATH = Path("run/journal.jsonl")
IMAGES = {"kind": "image", "dtype": "uint8", "shape": [8, 8, 1]}
LINES: list[tuple[Record, str]] = [
    (
        HeaderRecord(1, "0123456789abcdef0123456789abcdef", "digits", "ada", "quorate train"),
        '{"kind": "header", "version": 1, "run": "0123456789abcdef0123456789abcdef", "experiment": "digits", '
        '"user": "ada", "source": "quorate train"}',
    ),
    (
        RunRecord("job", "digits-1", None, {"quorate.level": "job"}, {"seed": "7", "none": "None"}, 5),
        '{"kind": "run", "uid": "job", "name": "digits-1", "parent": null, "tags": {"quorate.level": "job"}, '
        '"params": {"seed": "7", "none": "None"}, "start_ms": 5}',
    ),
    (
        RunRecord("job/cnn", "cnn", "job", {}, {}, 6),
        '{"kind": "run", "uid": "job/cnn", "name": "cnn", "parent": "job", "tags": {}, "params": {}, "start_ms": 6}',
    ),
    (
        DatasetRecord("job", "digits", "/data/digits", "fdeb", {"num_rows": 500}, "training", IMAGES),
        '{"kind": "dataset", "uid": "job", "name": "digits", "source": "/data/digits", "digest": "fdeb", '
        '"profile": {"num_rows": 500}, "context": "training", '
        '"signature": {"kind": "image", "dtype": "uint8", "shape": [8, 8, 1]}}',
    ),
    (
        DatasetRecord("job", "loans.csv", "/data/loans.csv", "a1b2", {}, "testing", None),
        '{"kind": "dataset", "uid": "job", "name": "loans.csv", "source": "/data/loans.csv", "digest": "a1b2", '
        '"profile": {}, "context": "testing", "signature": null}',
    ),
    (
        MetricsRecord("job/cnn", 3, {"loss": 0.25, "steps": 4.0, "worst": math.inf, "small": 1e-07}, 7),
        '{"kind": "metrics", "uid": "job/cnn", "step": 3, "values": {"loss": 0.25, "steps": 4.0, "worst": "inf", '
        '"small": 1e-07}, "timestamp_ms": 7}',
    ),
    (
        TagsRecord("job/cnn", {"quorate.host": "vm", "quorate.error": 'line 1\nline "2" é'}),
        '{"kind": "tags", "uid": "job/cnn", "tags": {"quorate.host": "vm", '
        r'"quorate.error": "line 1\nline \"2\" \u00e9"}}',
    ),
    (
        ArtifactRecord("job", "plots/curve.png", "plots"),
        '{"kind": "artifact", "uid": "job", "path": "plots/curve.png", "folder": "plots"}',
    ),
    (
        ModelRecord("job", "bundle", "digits", "digits-1", "| a |", {"weight": 1.0}, ("plots/curves.png",)),
        '{"kind": "model", "uid": "job", "bundle": "bundle", "name": "digits", "run": "digits-1", "note": "| a |", '
        '"metrics": {"weight": 1.0}, "pictures": ["plots/curves.png"]}',
    ),
    (
        RankingRecord("job", "digits-1", ("lr",), "oof_brier"),
        '{"kind": "ranking", "uid": "job", "run": "digits-1", "searched": ["lr"], "metric": "oof_brier"}',
    ),
    (EndRecord("job/cnn", "FAILED", 8), '{"kind": "end", "uid": "job/cnn", "status": "FAILED", "end_ms": 8}'),
    (
        AttemptRecord("cnn fold 2", 1, "10.0.0.2:77", 5, 9, "lost", restored=True, queued_ms=2),
        '{"kind": "attempt", "task": "cnn fold 2", "attempt": 1, "worker": "10.0.0.2:77", "start_ms": 5, "end_ms": 9, '
        '"outcome": "lost", "restored": true, "queued_ms": 2}',
    ),
    (CloseRecord(), '{"kind": "close"}'),
]
"""Records, and their lines as Quorate wrote them before the records had classes."""


def test_every_kind_of_record_has_an_example() -> None:
    assert {type(record) for record, _ in LINES} == set(get_args(Record))


@pytest.mark.parametrize(("record", "line"), LINES, ids=lambda value: getattr(value, "kind", ""))
def test_a_record_is_written_and_read(record: Record, line: str) -> None:
    assert serialize(record) == line.encode() + b"\n"
    assert parse(line.encode(), PATH) == record


def test_nan_is_written_as_text_and_read_as_a_number() -> None:
    line = serialize(MetricsRecord("job", 0, {"a": math.nan, "b": -math.inf}, 1))

    assert json.loads(line)["values"] == {"a": "nan", "b": "-inf"}
    found = parse(line, PATH)
    assert isinstance(found, MetricsRecord)
    assert math.isnan(found.values["a"]) and found.values["b"] == -math.inf


def test_any_mapping_is_written_as_an_object() -> None:
    assert serialize(TagsRecord("job", MappingProxyType({"a": "b"}))) == serialize(TagsRecord("job", {"a": "b"}))


def test_a_record_cannot_be_changed() -> None:
    record = EndRecord("job", "FINISHED", 1)

    with pytest.raises(dataclasses.FrozenInstanceError):
        record.uid = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (
            '{"kind": "dataset", "uid": "job", "name": "old training", "source": "digits", "digest": "fdeb", '
            '"profile": {"rows": 9}, "context": "training"}',
            DatasetRecord("job", "old training", "digits", "fdeb", {"rows": 9}, "training", None),
        ),
        (
            '{"kind": "ranking", "uid": "job", "run": "digits-1"}',
            RankingRecord("job", "digits-1", (), "oof_nll"),
        ),
        (
            '{"kind": "model", "uid": "job", "bundle": "bundle", "name": "old"}',
            ModelRecord("job", "bundle", "old", run="", note="", metrics={}, pictures=()),
        ),
        (
            '{"kind": "attempt", "task": "cnn fold 2", "attempt": 1, "worker": "vm:77", "start_ms": 5, "end_ms": 9, '
            '"outcome": "fitted", "restored": false}',
            AttemptRecord("cnn fold 2", 1, "vm:77", 5, 9, "fitted", queued_ms=None),
        ),
    ],
)
def test_records_of_earlier_versions_are_read(line: str, record: Record) -> None:
    assert parse(line.encode(), PATH) == record


@pytest.mark.parametrize(
    ("name", "tags", "params"),
    [
        ("cnn", {"quorate.level": "member"}, {}),
        ("cnn.1", {"quorate.level": "member", "quorate.recipe": "cnn"}, {}),
        ("cnn.1 fold 1", {"quorate.level": "fold"}, {"member": "cnn"}),
    ],
)
def test_a_run_names_its_member_in_every_version(name: str, tags: dict[str, str], params: dict[str, str]) -> None:
    assert RunRecord("uid", name, "job", tags, params, 1).member == "cnn"


@pytest.mark.parametrize(
    ("tags", "host"),
    [
        ({"quorate.host": "vm", "quorate.worker_process": "104"}, "vm"),
        ({"quorate.worker": "vm:104"}, "vm"),
        ({"quorate.worker": "vm"}, "vm"),
        ({"quorate.status": "trained"}, ""),
    ],
)
def test_tags_name_the_machine_in_every_version(tags: dict[str, str], host: str) -> None:
    assert TagsRecord("job/cnn/0", tags).host == host


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"kind": "run", "uid": "jo',
        b'{"kind": "tags", "uid": "job", "tags": {"a": "\xc3',
        b"[1]",
        b'{"uid": "job"}',
        b'{"kind": ["run"]}',
        b'{"kind": "hologram", "uid": "job"}',
    ],
)
def test_a_truncated_line_and_an_unknown_kind_are_ignored(line: bytes) -> None:
    assert parse(line, PATH) is None


def test_fields_that_a_later_quorate_added_are_ignored() -> None:
    line = b'{"kind": "end", "uid": "job", "status": "FINISHED", "end_ms": 3, "mood": "good"}'

    assert parse(line, PATH) == EndRecord("job", "FINISHED", 3)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"kind": "metrics", "uid": "job"}', "a record of kind 'metrics' has no field 'step'"),
        ('{"kind": "tags", "uid": 3, "tags": {}}', "a record of kind 'tags' is not valid (3 is not text)"),
        ('{"kind": "tags", "uid": "job", "tags": []}', "[] is not an object"),
        ('{"kind": "end", "uid": "job", "status": "DONE", "end_ms": 1}', "'DONE' is no status"),
        ('{"kind": "end", "uid": "job", "status": "FAILED", "end_ms": null}', "None is not an integer"),
        ('{"kind": "metrics", "uid": "job", "step": 1, "values": {"a": "x"}, "timestamp_ms": 1}', "'x'"),
        ('{"kind": "metrics", "uid": "job", "step": 1, "values": {"a": 1' + 400 * "0" + '}, "timestamp_ms": 1}', ""),
        ('{"kind": "header", "version": "x", "run": "a"}', "a record of kind 'header' is not valid ('x' is not an int"),
        ('{"kind": "header", "version": null}', "None is not an integer"),
        ('{"kind": "header", "version": true}', "True is not an integer"),
        ('{"kind": "header", "version": 1.5}', "1.5 is not an integer"),
        ('{"kind": "header", "version": -3}', "-3 is no version"),
        ('{"kind": "header", "run": "a"}', "a record of kind 'header' has no field 'version'"),
    ],
)
def test_a_damaged_record_is_an_error_that_names_the_file_and_the_field(line: str, reason: str) -> None:
    with pytest.raises(UserError) as error:
        parse(line.encode(), PATH)

    assert str(error.value).startswith("run/journal.jsonl is damaged: ")
    assert reason in str(error.value)


@pytest.mark.parametrize("extra", ["", ', "run": "x"'])
def test_the_header_of_a_later_version_asks_for_an_upgrade(extra: str) -> None:
    with pytest.raises(UserError, match="journal version 2, but this Quorate reads versions up to 1; upgrade Quorate"):
        parse(f'{{"kind": "header", "version": 2{extra}}}'.encode(), PATH)
