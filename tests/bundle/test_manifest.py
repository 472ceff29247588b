"""A manifest survives a round trip, or is refused with the file, the place and the value."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.bundle.manifests import a_manifest, saved_manifest, saved_member

from quorate.bundle import MANIFEST, BundleError, BundleManifest, BundlePruning, read_manifest
from quorate.data.signature import Column, ImageSignature, TableSignature
from quorate.ensemble.combination import Combination


def read(folder: Path, saved: object) -> BundleManifest:
    (folder / MANIFEST).write_text(json.dumps(saved))
    return read_manifest(folder)


COLUMNS = [{"name": "age", "kind": "numeric"}, {"name": "shop", "kind": "categorical", "as_written": True}]
FULL: dict[str, Any] = {
    "input": {"kind": "table", "columns": COLUMNS, "resize": None},
    "data": {
        "fingerprint": "f" * 64,
        "rows": 12,
        "labels_are": "positions",
        "label": "y",
        "labels": None,
        "images": None,
        "groups": "house",
        "missing": ["", "?"],
        "separator": ";",
        "on_corrupt": None,
    },
    "members": [
        saved_member("mine", 0.75, ["members/mine/all"], requires="own", reason="it is yours", loader="onnx"),
        saved_member("late", 0.25, [], temperature=None, oof=None),
        saved_member("idle", 0.0, []),
    ],
    "production": "the best 2 of 3 fold models",
    "pruned": {
        "from": "small-1",
        "members": ["mine", "late", "idle"],
        "nll": 0.1,
        "nll_error": 0.2,
        "accuracy": -0.1,
        "accuracy_error": 0.3,
    },
    "files": {"members/mine/all/member.json": "a" * 64},
}


@pytest.mark.parametrize("changes", [{}, FULL], ids=["least", "full"])
def test_a_manifest_is_written_as_it_was_read(changes: dict[str, Any], tmp_path: Path) -> None:
    order = [*saved_manifest(), "production", "pruned", "files"]
    order.remove("files")
    saved = saved_manifest(**changes)
    saved = {key: saved[key] for key in order if key in saved}

    found = read(tmp_path, saved)

    assert found.to_bytes().decode() == json.dumps(saved, indent=1)
    (tmp_path / MANIFEST).write_bytes(found.to_bytes())
    assert read_manifest(tmp_path) == found


def test_the_parts_of_a_manifest_are_typed(tmp_path: Path) -> None:
    found = read(tmp_path, saved_manifest(**FULL))

    assert found.input.signature == TableSignature((Column("age", "numeric"), Column("shop", "categorical", True)))
    assert (found.data.missing, found.data.labels_are, found.data.rows) == (("", "?"), "positions", 12)
    assert found.packed == found.members[:1] and found.places == ("members/mine/all",)
    assert (found.members[0].requires, found.members[0].loader) == ("own", "onnx")
    assert found.members[1].oof is None and found.members[1].temperature is None
    assert found.pruned == BundlePruning(
        run="small-1", members=("mine", "late", "idle"), nll=0.1, nll_error=0.2, accuracy=-0.1, accuracy_error=0.3
    )
    combination = found.combination.combination()
    assert isinstance(combination, Combination)
    assert combination.temperatures == [2.0, 1.0, 1.0] and combination.temperature == 1.5


def test_manifests_of_earlier_versions_lack_newer_fields_and_are_written_unchanged(tmp_path: Path) -> None:
    # given: the first version of schema 3 did not have these keys
    saved = saved_manifest()
    saved["data"] = {"fingerprint": "0" * 64, "rows": 30, "missing": None}

    found = read(tmp_path, saved)

    assert found.data.labels_are is None and found.data.on_corrupt is None and found.data.groups is None
    assert found.production is None and found.pruned is None and found.members[0].requires is None
    assert found.to_json()["data"] == saved["data"] and "production" not in found.to_json()


def test_keys_of_later_versions_of_the_same_schema_are_ignored(tmp_path: Path) -> None:
    saved = saved_manifest(colour="red", members=[saved_member("line", 1.0, [], taste="sweet")])

    assert read(tmp_path, saved).members == a_manifest(members=[saved_member("line", 1.0, [])]).members


@pytest.mark.parametrize("schema", [None, 1, 2, 4, 99, "3"])
def test_another_schema_is_refused_with_its_number(schema: object, tmp_path: Path) -> None:
    saved = saved_manifest(schema=schema)
    if schema is None:
        del saved["schema"]

    said = (
        f"{tmp_path} has schema version {schema!r}, but this version of Quorate reads 3; use the version that wrote it"
    )
    with pytest.raises(BundleError, match=re.escape(said)):
        read(tmp_path, saved)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "manifest.json cannot be read: Expecting property name"),
        ("", "manifest.json cannot be read: Expecting value"),
        (b"\xff\xfe", "manifest.json cannot be read: 'utf-8' codec can't decode"),
        ("[1]", "has schema version None"),
    ],
)
def test_a_file_that_is_no_json_object_is_refused(text: str | bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(text.encode() if isinstance(text, str) else text)

    with pytest.raises(BundleError, match=re.escape(said)):
        read_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest.json"):
        read_manifest(tmp_path)


def test_an_incomplete_manifest_names_what_it_lacks(tmp_path: Path) -> None:
    saved = saved_manifest(data={"rows": 3}, members=[{"name": "line"}])
    del saved["quorum"], saved["files"]

    with pytest.raises(BundleError) as refused:
        read(tmp_path, saved)

    assert str(refused.value) == (
        f"{tmp_path / MANIFEST} lacks data.fingerprint, files, members.0.folds, members.0.kind, members.0.oof, "
        "members.0.temperature, members.0.test, members.0.weight, quorum"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"files": []}, "files: Input should be a valid dictionary, found []"),
        (
            {"quorum": "two"},
            "quorum: Input should be a valid integer, unable to parse string as an integer, found 'two'",
        ),
        ({"members": {"line": 1}}, "members: Input should be a valid tuple"),
        ({"members": [saved_member("line", 1.0, 3)]}, "members.0.folds: Input should be a valid tuple"),
        ({"combination": None}, "combination: Input should be"),
        ({"combination": saved_manifest()["combination"] | {"kind": 3}}, "combination.kind: Input should be a valid s"),
        ({"input": {"kind": "text"}}, "input: unknown kind of inputs 'text'; this version knows images and tables"),
        ({"input": {"kind": "image"}}, "input: does not describe a table or an image: KeyError('shape')"),
        ({"input": {"kind": "image", "dtype": "float32", "shape": [8, 8, 1]}}, "input: images have the type 'float32'"),
        ({"input": 3}, "input: Input should be a valid dictionary"),
        ({"data": saved_manifest()["data"] | {"labels_are": "dates"}}, "data.labels_are: Input should be 'names' or"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError) as refused:
        read(tmp_path, saved_manifest(**changes))

    assert str(refused.value).startswith(f"{tmp_path / MANIFEST} is not the manifest of a bundle: {said}")


def test_class_names_and_paths_of_any_encoding_survive_a_round_trip(tmp_path: Path) -> None:
    """Names of folders that are not UTF-8 have lone surrogates."""
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    saved = saved_manifest(class_names=["a", name], files={f"members/{name}": "0" * 64})

    found = read(tmp_path, saved)

    assert found.class_names == ("a", name) and f"members/{name}" in found.files
    (tmp_path / MANIFEST).write_bytes(found.to_bytes())
    assert read_manifest(tmp_path) == found


def test_figures_that_are_not_finite_are_written_as_null(tmp_path: Path) -> None:
    figures = {"accuracy": 0.5, "nll": float("inf"), "ece": 0.1, "brier": 0.5}
    (tmp_path / MANIFEST).write_bytes(a_manifest(metrics={"oof": figures, "test": None}).to_bytes())

    assert read_manifest(tmp_path).metrics.oof == figures | {"nll": None}


def test_a_manifest_does_not_change() -> None:
    manifest = a_manifest()

    with pytest.raises(ValidationError, match="frozen"):
        manifest.quorum = 5  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        manifest.members[0].weight = 5  # type: ignore[misc]


def test_a_member_without_weight_in_another_ensemble_has_no_files() -> None:
    line = a_manifest().members[0]

    kept, left = (line.reweighted(weight=weight, temperature=None) for weight in (1 / 3, 0.0))

    assert (kept.weight, kept.temperature, kept.folds) == (0.333333, None, line.folds)
    assert (left.weight, left.folds) == (0.0, ())


def test_the_input_section_keeps_the_size_and_the_resizing_of_pictures(tmp_path: Path) -> None:
    saved = {"kind": "image", "dtype": "uint8", "shape": [32, 32, 3], "resize": 36}

    found = read(tmp_path, saved_manifest(input=saved)).input

    assert (found.signature, found.resize) == (ImageSignature((32, 32, 3)), 36)
    assert found.to_json() == saved
