"""Folders of pictures on the command line: what cannot be read is named, and the rest is scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import quorate
from quorate.errors import UserError

Command = Callable[..., tuple[int, str, str]]

JOB = """
name: colours
data: {kind: image_folder, train: photos, size: 6, on_corrupt: POLICY}
validation: {folds: 2}
members: {bayes: naive_bayes}
execution: {executor: local}
tracking: {enabled: false}
"""
BAD = ["new/blue/cut.png", "new/blue/empty.jpg", "new/red/page.png"]


@pytest.fixture(params=["error", "skip"])
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def here(tmp_path: Path, policy: str, quorate_in: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run on red and blue pictures, and new ones of which three cannot be read."""
    monkeypatch.setenv("QUORATE_STORE", str(tmp_path / "store"))
    rng = np.random.default_rng(0)
    for folder, count in (("photos", 6), ("new", 3)):
        for name, channel in (("red", 0), ("blue", 2)):
            (tmp_path / folder / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 90, (7, 7, 3), dtype=np.uint8)
                pixels[..., channel] += 150
                suffix = (".png", ".webp", ".bmp")[i % 3]
                Image.fromarray(pixels).save(tmp_path / folder / name / f"{i}{suffix}")
    (tmp_path / "job.yaml").write_text(JOB.replace("POLICY", policy))
    code, _, errors = quorate_in(tmp_path, "train", "job.yaml", "--quiet")
    assert code == 0, errors
    whole = (tmp_path / "new/blue/0.png").read_bytes()
    (tmp_path / BAD[0]).write_bytes(whole[: len(whole) // 2])
    (tmp_path / BAD[1]).touch()
    (tmp_path / BAD[2]).write_text("<!DOCTYPE html>")
    (tmp_path / "new/notes.txt").write_text("new")
    return tmp_path


def check_names(text: str) -> None:
    assert "3 of 9 pictures cannot be read:\n" in text
    for name, reason in zip(BAD, ("damaged or incomplete", "the file is empty", "but a web page"), strict=True):
        assert any(f"  {name}: " in line and reason in line for line in text.splitlines())


def test_unreadable_pictures_get_a_row_without_a_class_and_the_others_get_their_scores(
    here: Path, policy: str, quorate_in: Command
) -> None:
    code, _, errors = quorate_in(here, "predict", "new", "-o", "scores.csv")

    assert code == (0 if policy == "skip" else 1)
    check_names(errors)
    assert "note: new: 1 file is not read: 1 .txt (notes.txt)" in errors
    found = pd.read_csv(here / "scores.csv")
    assert found["input"].tolist() == sorted(str(path) for path in found["input"]), "in the order of the files"
    bad = found["input"].isin(BAD)
    assert found[bad][["class", "p(blue)", "p(red)"]].isna().all(axis=None) and found[bad]["error"].notna().all()
    assert found[~bad]["error"].isna().all()
    assert found[~bad]["class"].tolist() == [Path(path).parent.name for path in found[~bad]["input"]]
    np.testing.assert_allclose(found[~bad][["p(blue)", "p(red)"]].sum(axis=1), 1)


@pytest.mark.parametrize("policy", ["error"], indirect=True)
def test_the_other_forms_of_output_say_the_same(here: Path, quorate_in: Command) -> None:
    everything = ("--uncertainty", "--coverage", "0.9", "--max-error", "0.1")
    for ending in ("npz", "parquet"):
        assert quorate_in(here, "predict", "new", "-o", f"scores.{ending}", *everything)[0] == 1
    code, output, _ = quorate_in(here, "predict", "new", "--json", *everything)

    assert code == 1
    rows = json.loads(output, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    bad = [row["input"] in BAD for row in rows]
    assert [row["class"] is None and row["p(red)"] is None and bool(row["error"]) for row in rows] == bad
    assert not any(row["answered"] for row in rows if row["error"])
    table = pd.read_parquet(here / "scores.parquet")
    assert table["error"].notna().tolist() == table["class"].isna().tolist() == bad
    assert table["answered"].dtype == bool
    with np.load(here / "scores.npz", allow_pickle=False) as arrays:
        assert np.isnan(arrays["proba"]).all(axis=1).tolist() == bad
        assert (arrays["error"] != "").tolist() == (arrays["prediction"] == "").tolist() == bad
    assert not list(here.glob(".*")), "nothing is half written"


def test_the_figures_are_those_of_the_pictures_that_can_be_read(here: Path, policy: str, quorate_in: Command) -> None:
    (here / "new/green").mkdir()

    code, output, _ = quorate_in(here, "evaluate", "new", "--json")

    assert code == (0 if policy == "skip" else 1)
    found = json.loads(output)
    assert (found["rows"], found["ensemble"]["accuracy"]["value"]) == (6, 1.0)
    assert [row["input"] for row in found["unreadable"]] == BAD
    check_names("\n".join(found["notes"]))
    assert "new: folders without pictures are not classes: 'green'" in found["notes"]


@pytest.mark.parametrize("policy", ["error"], indirect=True)
def test_all_unreadable_pictures_are_named_in_one_error(
    here: Path, quorate_in: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    with pytest.raises(UserError) as caught:
        quorate.load().predict("new")
    check_names(str(caught.value))

    code, _, errors = quorate_in(here, "predict", *BAD)
    assert code == 2
    assert "error: 3 of 3 pictures cannot be read:" in errors

    code, _, errors = quorate_in(here, "predict", "new/notes.txt", "job.yaml", "new/red/0.png")
    assert code == 2
    assert "new/notes.txt, job.yaml: this ensemble takes images of 6x6x3; expected a picture (JPEG" in errors


@pytest.mark.parametrize("policy", ["error"], indirect=True)
def test_an_archive_that_cannot_be_used_ends_before_any_picture_is_scored(here: Path, quorate_in: Command) -> None:
    np.savez(here / "small.npz", images=np.zeros((1, 5, 6, 3), np.uint8))
    (here / "small.npz").rename(here / "small.NPZ")

    code, output, errors = quorate_in(here, "predict", "new", "small.NPZ")

    assert (code, output) == (2, "")
    assert errors == "error: small.NPZ contains images of 5x6x3, but the ensemble takes images of 6x6x3\n"
