"""A member that memorizes its training rows gains nothing, from its folds to the estimate of the ensemble."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from quorate.estimator import EnsembleClassifier

MEMBERS = {
    "by_heart": {"kind": "knn", "neighbours": 1},
    "deep": {"kind": "random_forest", "trees": 20},
    "linear": {"kind": "logistic"},
}
ROWS, CLASSES = 600, 4


@pytest.mark.parametrize("combiner", ["calibrated_greedy", "weighted", "mean", "stacking"])
def test_with_random_labels_members_and_ensemble_are_at_chance_level(combiner: str) -> None:
    X = load_digits().data[:ROWS]
    y = np.random.default_rng(0).integers(0, CLASSES, ROWS)

    fitted = EnsembleClassifier(members=MEMBERS, validation={"folds": 3}, combiner=combiner).fit(X, y)

    board = fitted.leaderboard_.set_index("name")
    assert (fitted.predict(X) == y).mean() > 0.35  # it knows rows that it has seen
    chance = 1 / CLASSES
    assert (board["oof_accuracy"] - chance).abs().max() < 3.5 * np.sqrt(chance * (1 - chance) / ROWS)
    assert board.loc["ensemble", "oof_nll"] > np.log(CLASSES) - 0.005


def test_a_member_that_memorizes_its_training_rows_gets_no_extra_weight() -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[:ROWS], np.where(np.random.default_rng(0).random(ROWS) < 0.3, (y[:ROWS] + 1) % 10, y[:ROWS])

    fitted = EnsembleClassifier(members=MEMBERS, validation={"folds": 3}).fit(X, y)

    board = fitted.leaderboard_.set_index("name")
    # it has all training rows right, and a third of the labels are wrong for its neighbours
    assert board.loc["by_heart", "oof_accuracy"] < board.loc["deep", "oof_accuracy"]
    assert board.loc["by_heart", "weight"] < board.loc["deep", "weight"]
