"""Ranking figures of weighted rows are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from quorate.ensemble.ranking import average_precision, rank, roc_auc

PAIRS = [(roc_auc, roc_auc_score), (average_precision, average_precision_score)]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=["roc_auc", "average_precision"])
@pytest.mark.parametrize("decimals", [1, 12], ids=["many ties", "no ties"])
def test_every_resample_has_the_metric_of_scikit_learn_with_its_weights(ours, theirs, decimals):
    rng = np.random.default_rng(0)
    score, positive = rng.random(200).round(decimals), rng.random(200) < 0.3
    weights = rng.integers(0, 4, (7, 200)).astype(float)

    order = np.argsort(-score)
    found = ours(rank(score=score[order], positive=positive[order], weights=weights[:, order]))

    assert found == pytest.approx([theirs(positive, score, sample_weight=row) for row in weights], abs=1e-12)


def test_a_resample_without_one_of_the_classes_has_no_metric():
    score, positive = np.array([0.3, 0.2, 0.1]), np.array([False, False, True])
    weights = np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0], [0.0, 0.0, 3.0]])

    ranked = rank(score=score, positive=positive, weights=weights)

    area, precision = roc_auc(ranked), average_precision(ranked)

    np.testing.assert_array_equal(area, [0.0, np.nan, np.nan])
    np.testing.assert_array_equal(precision, [1 / 3, np.nan, 1.0])


def test_a_constant_score_ranks_like_chance():
    positive = np.array([True, False, True, False])

    found = roc_auc(rank(score=np.zeros(4), positive=positive, weights=np.ones((1, 4))))

    assert found.tolist() == [0.5]
