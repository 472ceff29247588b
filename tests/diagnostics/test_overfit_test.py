"""The overfit test, for every kind of member."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.jobs import runner_with

from quorate.data.dataset import ArrayImages, Dataset
from quorate.diagnostics.first_fold import FirstFold, open_subject
from quorate.diagnostics.overfit_test import LOSS_BOUND, balanced_subset, contradictory_rows, memorize, plain, sentences
from quorate.errors import UserError
from quorate.job.fits import FitRunner
from quorate.spec import load_job

NET = {"kind": "net", "arch": "mlp", "lr": 0.05}
MEMBERS: dict[str, Any] = {
    "mlp": {**NET, "dropout": 0.5, "label_smoothing": 0.3, "augment": {"crop": 3}, "schedule": "one_cycle"},
    "hot": {**NET, "lr": 100},
    "forest": {"kind": "random_forest", "trees": 20},
    "stump": {"kind": "random_forest", "trees": 20, "min_samples_leaf": 15},
    "svm": "svm",
}


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FirstFold]:
    path = tmp_path_factory.mktemp("job") / "job.yaml"
    data = {"kind": "digits", "limit": 300}
    path.write_text(yaml.safe_dump({"data": data, "validation": {"folds": 2}, "members": MEMBERS}))
    job = load_job(path)
    place = runner_with(path.parent / "store").place
    return {name: open_subject(job, name, place) for name in MEMBERS}


@pytest.fixture
def runner(tmp_path: Path) -> FitRunner:
    return runner_with(tmp_path / "store")


def test_without_regularization_a_network_memorizes_the_subset(
    subjects: dict[str, FirstFold], runner: FitRunner
) -> None:
    found = memorize(subjects["mlp"], runner, rows=32, epochs=200)

    assert found.attempt.memorized
    assert (found.rows, found.classes) == (32, 10)
    assert found.attempt.accuracy == 1
    assert found.attempt.loss < LOSS_BOUND
    assert found.attempt.epochs < 200, "it ends when it is done"
    assert next(sentences(found)).startswith("mlp has memorized 32 rows of 10 classes after")
    params = plain(subjects["mlp"].task.params, epochs=9)
    assert (params.dropout, params.label_smoothing, params.weight_decay) == (0, 0, 0)
    assert not params.augment
    assert (params.schedule.kind, params.epochs) == ("constant", 9)


def test_a_learning_rate_that_is_too_high_is_distinguished_from_other_causes(
    subjects: dict[str, FirstFold], runner: FitRunner
) -> None:
    found = memorize(subjects["hot"], runner, rows=32, epochs=60)

    assert not found.attempt.memorized
    assert found.others[-1].memorized
    assert any("learning rate: 100 is too high: at 0.01 the rows were memorized" in said for said in sentences(found))


def test_other_kinds_are_tested_by_their_training_accuracy(subjects: dict[str, FirstFold], runner: FitRunner) -> None:
    """The SVM without its calibration, for which so few rows are not enough."""
    forest, svm, stump = (memorize(subjects[name], runner, rows=32, epochs=1) for name in ("forest", "svm", "stump"))

    assert forest.attempt.memorized
    assert svm.attempt.memorized
    assert not stump.attempt.memorized
    assert any("too simple or too regularized" in said for said in sentences(stump))


def test_the_subset_is_balanced_and_the_same_for_a_seed() -> None:
    y = np.repeat(np.arange(4), (50, 20, 5, 2))
    pixels = np.random.default_rng(0).integers(0, 255, (77, 4, 4, 1), dtype=np.uint8)
    data = Dataset(ArrayImages(pixels), y, tuple("abcd"))

    few = balanced_subset(data, rows=16, seed=3)

    assert np.bincount(few.y).tolist() == [5, 5, 4, 2]
    assert few.fingerprint == balanced_subset(data, rows=16, seed=3).fingerprint
    assert few.fingerprint != balanced_subset(data, rows=16, seed=4).fingerprint
    assert np.bincount(balanced_subset(data, rows=4, seed=0).y).tolist().count(2) == 2, "two classes, two rows each"
    assert len(balanced_subset(data, rows=1000, seed=0)) == 77


def test_equal_rows_with_different_labels_are_named() -> None:
    pixels = np.zeros((6, 4, 4, 1), np.uint8)
    pixels[3:, 0] = np.arange(3)[:, None, None] + 1
    data = Dataset(ArrayImages(pixels), np.array([0, 0, 1, 0, 1, 1]), ("a", "b"))

    rows, best = contradictory_rows(data)

    assert rows == 3
    assert best == pytest.approx(5 / 6)


def test_contradictory_rows_are_reported_as_the_reason(subjects: dict[str, FirstFold], runner: FitRunner) -> None:
    first = subjects["mlp"]
    rows = np.repeat(np.flatnonzero(first.train.y == 3)[:1], 4)
    same = first.train.take(rows)
    twice = Dataset(same.x, np.array([3, 5, 3, 5]), same.class_names)

    found = memorize(FirstFold(first.task, twice), runner, rows=4, epochs=5)

    assert not found.attempt.memorized
    assert not found.others, "no learning rate helps"
    assert any("4 of these rows have a duplicate with another label" in said for said in sentences(found))
    assert any("accuracy above 0.500" in said for said in sentences(found))


def test_an_unknown_member_gets_a_suggestion(tmp_path: Path, runner: FitRunner) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("data: digits\nmembers: {svm: svm}\n")

    with pytest.raises(UserError, match=r"no member 'smv'; did you mean 'svm'\? \(its members: svm\)"):
        open_subject(load_job(path), "smv", runner.place)
