"""Figures and their intervals against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from quorate.ensemble.intervals import figures, paired, wilson, wilson_of_groups
from quorate.ensemble.metrics import row_brier, row_nll, scores

Z = stats.norm.ppf(0.975)


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


def test_rows_that_are_hard_for_both_do_not_widen_a_paired_interval():
    proba, y = sample(400, 4)
    better = 0.9 * proba + 0.1 * np.eye(4)[y]

    found, alone = paired(better, proba, y), figures(proba, y)

    assert not found["nll"].holds_zero
    assert found["nll"].high - found["nll"].low < 0.5 * (alone["nll"].high - alone["nll"].low)
    assert paired(proba, proba, y)["nll"].holds_zero
    with pytest.raises(ValueError, match="same shape"):
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


def test_metrics_that_need_two_classes_are_unknown_with_one_class():
    proba, _ = sample(30, 2)

    found = figures(proba, np.zeros(30, np.int64))

    assert found["roc_auc"].to_json() == {"value": None, "low": None, "high": None}
    assert found["accuracy"].low is not None


def test_ranking_metrics_are_undefined_for_three_classes():
    assert set(figures(*sample(50, 3), resamples=5)) == {"accuracy", "nll", "ece", "brier"}


def grouped(groups: int, each: int, seed: int = 0):
    """Rows that are copies within their group, and their groups."""
    proba, y = sample(groups, 3, seed)
    return np.repeat(proba, each, axis=0), np.repeat(y, each), np.repeat(np.arange(groups), each)


def test_copies_within_groups_add_no_information():
    proba, y, groups = grouped(80, 6)

    found = figures(proba, y, groups=groups)
    once = figures(proba[::6], y[::6])

    for name, figure in once.items():
        assert found[name].to_json() == pytest.approx(figure.to_json())
    naive = figures(proba, y)["nll"]
    assert naive.high - naive.low < 0.6 * (found["nll"].high - found["nll"].low)


@pytest.mark.parametrize("name", ["nll", "brier"])
def test_intervals_of_unequal_groups_are_scipys_bootstrap_of_groups(name):
    # given: groups of 1 to 9 rows; SciPy draws groups, each with its sum and its size, and divides
    (first, y), (second, _) = sample(300, 4), sample(300, 4, seed=1)
    groups = np.repeat(np.arange(60), np.tile([1, 3, 5, 7, 9], 12))
    rows_of = {"nll": row_nll, "brier": row_brier}[name]
    values = rows_of(first, y) - rows_of(second, y)
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups)
    expected = stats.bootstrap(
        (sums, sizes),
        lambda total, count, axis=-1: total.sum(axis=axis) / count.sum(axis=axis),
        n_resamples=8000,
        method="percentile",
        paired=True,
        rng=np.random.default_rng(1),
    ).confidence_interval

    found = paired(first, second, y, groups=groups, resamples=8000)[name]

    width = expected.high - expected.low
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.05 * width)


def test_the_interval_of_a_share_counts_the_effective_number_of_rows():
    # given: the groups' sums of deviations from 5/8 are 9/8, -1/4, -7/8; sum of squares 1/64 * (81 + 4 + 49) = 67/32
    right, groups = np.array([1, 1, 1, 0, 1, 1, 0, 0], bool), np.array([0, 0, 0, 1, 1, 2, 2, 2])

    found = wilson_of_groups(right, groups)

    share, effective = 5 / 8, (5 / 8 * 3 / 8) / (67 / 32 / 64)
    centre = (share + Z**2 / (2 * effective)) / (1 + Z**2 / effective)
    half = Z * np.sqrt(share * (1 - share) / effective + Z**2 / (4 * effective**2)) / (1 + Z**2 / effective)
    assert found == pytest.approx((centre - half, centre + half))
    assert wilson_of_groups(np.arange(50) < 40, np.arange(50)) == pytest.approx(wilson(40, 50))
    assert wilson_of_groups(np.repeat(np.arange(50) < 40, 4), np.repeat(np.arange(50), 4)) == pytest.approx(
        wilson(40, 50)
    )
    assert wilson_of_groups(np.ones(30, bool), np.repeat(np.arange(10), 3)) == pytest.approx(wilson(10, 10))
    assert wilson_of_groups(right, None) == wilson(5, 8)


def test_clustered_intervals_cover_the_true_value_where_independent_rows_would_not():
    # given: each group is right about all of its rows or about none, with a chance of .7
    covered = {"groups": 0, "rows": 0}
    for seed in range(400):
        right = np.repeat(np.random.default_rng(seed).random(60) < 0.7, 5)
        for name, groups in (("groups", np.repeat(np.arange(60), 5)), ("rows", None)):
            low, high = wilson_of_groups(right, groups)
            covered[name] += low <= 0.7 <= high

    assert covered["groups"] / 400 == pytest.approx(0.95, abs=0.03)
    assert covered["rows"] / 400 < 0.75


def test_one_group_gives_no_interval():
    proba, y = sample(20, 2)

    found, difference = (
        figures(proba, y, groups=np.zeros(20, int)),
        paired(proba, proba[:, ::-1], y, groups=np.zeros(20, int)),
    )

    assert {name for name, figure in found.items() if figure.low is None} == set(found) - {"accuracy"}
    assert found["accuracy"].high - found["accuracy"].low > 0.6
    assert difference["nll"].value != 0 and difference["nll"].low is None and difference["nll"].holds_zero
