"""Figures and their intervals against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from quorate.ensemble.intervals import figures, paired, wilson
from quorate.ensemble.metrics import row_brier, row_nll, scores


def sample(rows: int, classes: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes))
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(classes, p=row) for row in proba])
    return proba, y


@pytest.mark.parametrize(("right", "total"), [(0, 5), (5, 5), (17, 20), (990, 1000)])
def test_the_interval_of_a_share_is_wilsons(right, total):
    expected = stats.binomtest(right, total).proportion_ci(0.95, method="wilson")

    assert wilson(right, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_values_are_those_of_every_other_table_and_of_scikit_learn():
    proba, y = sample(300, 2)

    found = figures(proba, y, resamples=10)

    assert {name: found[name].value for name in ("accuracy", "nll", "ece", "brier")} == scores(proba, y)
    assert found["nll"].value == pytest.approx(log_loss(y, proba))
    assert found["roc_auc"].value == pytest.approx(roc_auc_score(y, proba[:, 1]))
    assert found["average_precision"].value == pytest.approx(average_precision_score(y, proba[:, 1]))


@pytest.mark.parametrize(("name", "rows_of"), [("nll", row_nll), ("brier", row_brier)])
def test_the_intervals_of_means_are_scipys_percentile_bootstrap(name, rows_of):
    proba, y = sample(400, 4)
    expected = stats.bootstrap(
        (rows_of(proba, y),), np.mean, n_resamples=8000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval

    found = figures(proba, y, resamples=8000)[name]

    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.04 * width)


def test_a_paired_difference_is_scipys_bootstrap_of_the_rows_differences():
    (first, y), (second, _) = sample(400, 4), sample(400, 4, seed=1)
    expected = stats.bootstrap(
        (row_nll(first, y) - row_nll(second, y),),
        np.mean,
        n_resamples=8000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval

    found = paired(first, second, y, resamples=8000)

    width = expected.high - expected.low
    assert (found["nll"].low, found["nll"].high) == pytest.approx((expected.low, expected.high), abs=0.04 * width)
    for name in ("accuracy", "nll", "brier"):
        assert found[name].value == pytest.approx(scores(first, y)[name] - scores(second, y)[name])


def test_what_both_find_hard_does_not_widen_a_paired_interval():
    proba, y = sample(400, 4)
    better = 0.9 * proba + 0.1 * np.eye(4)[y]

    found, alone = paired(better, proba, y), figures(proba, y)

    assert not found["nll"].holds_zero
    assert found["nll"].high - found["nll"].low < 0.5 * (alone["nll"].high - alone["nll"].low)
    assert paired(proba, proba, y)["nll"].holds_zero
    with pytest.raises(ValueError, match="shapes"):
        paired(proba, proba[:, :3], y)


@pytest.mark.slow
def test_the_interval_of_the_area_is_scipys_percentile_bootstrap():
    proba, y = sample(150, 2)
    expected = stats.bootstrap(
        (proba[:, 1], y),
        lambda score, label: roc_auc_score(label, score),
        n_resamples=1000,
        method="percentile",
        paired=True,
        vectorized=False,
        rng=np.random.default_rng(1),
    ).confidence_interval

    found = figures(proba, y, resamples=4000)["roc_auc"]

    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.1 * width)


def test_the_interval_of_the_calibration_error_holds_its_value_however_well_calibrated():
    for seed in range(5):
        proba, y = sample(100, 3, seed)
        found = figures(proba, y)["ece"]
        assert 0 <= found.low <= found.value <= found.high


def test_intervals_are_the_same_again_and_in_chunks_of_any_size(monkeypatch):
    proba, y = sample(120, 2)
    whole = figures(proba, y)
    monkeypatch.setattr("quorate.ensemble.intervals._CELLS", 12_000)

    chunked = figures(proba, y)

    for name, figure in whole.items():
        assert chunked[name].to_json() == pytest.approx(figure.to_json())


def test_more_rows_make_narrower_intervals():
    widths = []
    for rows in (100, 1600):
        found = figures(*sample(rows, 3))
        widths.append({name: each.high - each.low for name, each in found.items()})

    assert all(widths[1][name] < 0.5 * widths[0][name] for name in ("accuracy", "nll", "brier"))


def test_what_one_class_alone_cannot_tell_is_unknown():
    proba, _ = sample(30, 2)

    found = figures(proba, np.zeros(30, np.int64))

    assert found["roc_auc"].to_json() == {"value": None, "low": None, "high": None}
    assert found["accuracy"].low is not None


def test_three_classes_have_no_ranking():
    assert set(figures(*sample(50, 3), resamples=5)) == {"accuracy", "nll", "ece", "brier"}
