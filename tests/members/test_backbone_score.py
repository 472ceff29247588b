"""The scores of frozen features, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from quorate.members.backbone_score import NEIGHBOURS, score_features


def features(rows: int = 150, *, signal: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    return (random.normal(size=(rows, 12)) + signal * np.eye(12)[y]).astype(np.float32), y


def left_out(x: np.ndarray, y: np.ndarray) -> float:
    """The leave-one-out accuracy of scikit-learn's nearest neighbours; ties go to the nearest."""
    hits = []
    for i in range(len(y)):
        rest = np.delete(np.arange(len(y)), i)
        model = KNeighborsClassifier(NEIGHBOURS, metric="cosine", algorithm="brute").fit(x[rest], y[rest])
        near = y[rest][model.kneighbors(x[i : i + 1])[1][0]].tolist()
        hits.append(max(near, key=lambda label: (near.count(label), -near.index(label))) == y[i])
    return float(np.mean(hits))


def test_neighbours_are_those_of_scikit_learn_without_the_row_itself() -> None:
    x, y = features(signal=2.0)

    assert score_features(x, y, groups=None, seed=0).knn_accuracy() == pytest.approx(left_out(x, y))


def test_neighbours_among_some_rows_are_those_of_these_rows_alone() -> None:
    x, y = features(signal=2.0)
    rows = np.flatnonzero(np.arange(len(y)) % 4)

    found = score_features(x, y, groups=None, seed=0).knn_accuracy(rows)

    assert found == pytest.approx(left_out(x[rows], y[rows]))


def test_better_features_have_a_lower_loss_and_none_have_that_of_a_guess() -> None:
    losses = [score_features(*features(signal=s), groups=None, seed=0).probe_loss() for s in (0.0, 1.0, 3.0)]

    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(np.log(3), abs=0.15)


def test_rows_of_a_group_are_no_neighbours_of_each_other() -> None:
    random = np.random.default_rng(0)
    base, y = random.normal(size=(40, 12)).astype(np.float32), np.arange(40) % 2
    x, labels, groups = np.repeat(base, 5, axis=0), np.repeat(y, 5), np.repeat(np.arange(40), 5)
    x = x + 1e-3 * random.normal(size=x.shape).astype(np.float32)

    alone = score_features(x, labels, groups=groups, seed=0)

    assert score_features(x, labels, groups=None, seed=0).knn_accuracy() > 0.95, "copies give the class away"
    assert alone.knn_accuracy() < 0.75 and alone.probe_accuracy < 0.75
