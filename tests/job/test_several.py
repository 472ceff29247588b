"""Views of one fit are stored, reused, reported as failed and bundled like other members."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.jobs import NET, SMALL, Here

from quorate.bundle import Bundle
from quorate.registry import DATASETS

SNAPSHOTS = {name: value for name, value in NET.items() if name != "schedule"}
SEVERAL = {
    **SMALL,
    "members": {"cnn": {**SNAPSHOTS, "ema": 0.9, "snapshots": 3}, "logistic": {"kind": "logistic"}},
    "combiner": "mean",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    here = Here(tmp_path_factory.mktemp("several"))
    here.run(SEVERAL)
    return here


def test_the_leaderboard_has_a_row_for_each_view_and_counts_the_time_of_the_run_once(here: Here) -> None:
    rows = {row["name"]: row for row in here.board()["members"]}

    assert list(rows) == ["cnn", "cnn.ema", "cnn.cycle1", "cnn.cycle2", "logistic"]
    assert all(row["folds"] == 2 and row["status"] == "ok" for row in rows.values())
    assert len({row["oof"]["nll"] for row in rows.values()}) == 5
    assert rows["cnn"]["fit_seconds"] > 0 == rows["cnn.ema"]["fit_seconds"]


def test_the_bundle_predicts_with_all_views(here: Here) -> None:
    bundle = Bundle.load(here.newest_run() / "bundle")
    digits = DATASETS.get("digits")
    data = digits.open(digits.Params()).train

    answer = bundle.predict(data.x.subset(np.arange(7)))

    assert len(bundle.manifest.members) == 5
    np.testing.assert_allclose(answer.proba.sum(1), 1, atol=1e-6)


def test_all_views_are_reused_and_a_lost_one_is_made_again_by_its_run(here: Here) -> None:
    first = here.board()
    again = here.run(SEVERAL)
    assert (again["tasks"]["trained"], again["tasks"]["reused"]) == (0, 10)

    for path in (here.folder / "store" / "fits").rglob("*.json"):
        if "ema, fold 2" in json.loads(path.read_text())["body"]["task"]:
            path.unlink()
    mended = here.run(SEVERAL)

    assert mended["oof_sha256"] == again["oof_sha256"] == first["oof_sha256"]


def test_if_the_run_fails_none_of_its_views_exists(tmp_path: Path) -> None:
    here = Here(tmp_path)
    members = {**SEVERAL["members"], "cnn": {**SEVERAL["members"]["cnn"], "l1": 1e38, "snapshots": 1}}  # type: ignore[index]

    board = here.run({**SEVERAL, "members": {**members, "svm": {"kind": "svm"}}, "quorum": {"members": 1}})

    status = {row["name"]: row["status"] for row in board["members"]}
    assert status["cnn"] == status["cnn.ema"] == "diverged"


@pytest.mark.slow
def test_a_cluster_gives_the_same_bits(here: Here, tmp_path: Path) -> None:
    there = Here(tmp_path)
    there.write(SEVERAL)

    done = there.command("train", "job.yaml", "--executor", "ray", "--store", "store")

    assert done.returncode == 0, done.stderr
    assert there.board()["oof_sha256"] == here.board()["oof_sha256"]
