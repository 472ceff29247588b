"""An ensemble is loaded whatever the state of the leaderboard next to its bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.bundle.manifests import a_manifest
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data

import quorate
from quorate.bundle import hashes_of, write_bundle
from quorate.data.signature import ImageSignature
from quorate.members.logistic import Logistic, LogisticParams

PLACES = ("members/line/0", "members/line/1", "members/wood/0")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a sound bundle, whose manifest has the log-loss 1.0."""
    rows = tiny_data(seed=1)
    member = Logistic(LogisticParams(), signature=ImageSignature((8, 8, 1)), n_classes=3).fit(rows, rows, PlainRun())
    (tmp_path / "saved").mkdir()
    member.save(tmp_path / "saved")
    saved = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    files = {f"{place}/{name}": content for place in PLACES for name, content in saved.items()}
    folder = tmp_path / "small-20260105-101500"
    folder.mkdir()
    write_bundle(folder / "bundle", a_manifest(files=hashes_of(files)), files)
    return folder


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"version": 2}', '{"version": "x"}', json.dumps({"version": 1, "job": 3})]
)
def test_a_damaged_or_later_leaderboard_leaves_the_values_of_the_bundle(content: str, run: Path) -> None:
    (run / "leaderboard.json").write_text(content)

    board = quorate.load(run).leaderboard

    assert list(board["name"]) == ["ensemble", "line", "wood", "idle"]
    assert board["oof_nll"].tolist() == [1.0, 1.0, 1.0, 1.0]


def test_a_metric_that_is_not_finite_is_unknown(run: Path) -> None:
    path = run / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["members"][0]["oof"]["nll"] = manifest["metrics"]["oof"]["ece"] = None
    path.write_text(json.dumps(manifest))

    board = quorate.load(run / "bundle").leaderboard.set_index("name")

    assert np.isnan(board.loc["line", "oof_nll"]) and np.isnan(board.loc["ensemble", "oof_ece"])
    assert board.loc["wood", "oof_nll"] == 1.0
