"""Each data kind defines which of its settings apply to files of new rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quorate.data.file_settings import FileSettings
from quorate.data.in_memory import InMemoryParams
from quorate.registry import DATASETS

MARKS = ("", "?")

KINDS: dict[str, tuple[dict[str, Any], FileSettings]] = {
    "csv": (
        {"train": "rows", "label": "y", "groups": "house", "missing": MARKS, "separator": ";"},
        FileSettings(label="y", groups="house", missing=MARKS, separator=";"),
    ),
    "parquet": (
        {"train": "rows", "label": "y", "missing": MARKS},
        FileSettings(label="y", missing=MARKS),
    ),
    "npz": (
        {"train": "rows", "images": "x", "labels": "t", "groups": "g"},
        FileSettings(images="x", labels="t", groups="g"),
    ),
    "image_folder": (
        {"train": "rows", "size": 32, "resize": 36, "on_corrupt": "skip", "groups": "(a+)"},
        FileSettings(on_corrupt="skip", resize=36, groups="(a+)"),
    ),
    "digits": ({}, FileSettings()),
    "torchvision/MNIST": ({}, FileSettings()),
}


def test_every_built_in_kind_is_tested_here() -> None:
    assert {name.partition("/")[0] for name in DATASETS.names()} == {name.partition("/")[0] for name in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_returns_the_settings_that_it_supports(kind: str, tmp_path: Path) -> None:
    given, settings = KINDS[kind]
    (tmp_path / "rows").touch()
    params = DATASETS.get(kind).Params.model_validate({"kind": kind, **given}, context={"base": tmp_path})

    assert params.file_settings() == settings


def test_rows_from_a_python_program_have_no_file_settings() -> None:
    assert InMemoryParams().file_settings() == FileSettings()
