"""Uncertainty, conformal sets and abstention against SciPy, hand-worked rows and their guarantees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import mutual_info_score
from tests.ensemble.samples import labels, member, members

from quorate.ensemble.abstention import RiskCoverage
from quorate.ensemble.conformal import Conformal
from quorate.ensemble.uncertainty import entropy, uncertainty_of

SEEDS = st.integers(0, 2**32 - 1)


def sample(seed: int, *, rows: int = 300, classes: int = 3, skill: float = 1.5):
    rng = np.random.default_rng(seed)
    y = labels(rng, rows=rows, classes=classes)
    return member(rng, y, classes=classes, skill=skill, sharpness=2.0), y


def test_entropy_is_that_of_scipy_and_of_a_certain_row_zero():
    proba, _ = sample(0)

    np.testing.assert_allclose(entropy(proba), scipy_entropy(proba, axis=1), atol=1e-12)
    assert entropy(np.eye(3)).tolist() == [0, 0, 0]


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_uncertainty_is_divided_into_that_of_the_data_and_that_between_members(seed):
    rng = np.random.default_rng(seed)
    proba = members(rng, labels(rng, rows=40, classes=4), classes=4, skills=(0.5, 1.0, 2.0))
    weights = rng.dirichlet(np.ones(3))

    found = uncertainty_of(members=proba, weights=weights)

    mean = np.tensordot(weights, proba, axes=1)
    np.testing.assert_allclose(found.entropy, scipy_entropy(mean, axis=1), atol=1e-10)
    np.testing.assert_allclose(found.aleatoric + found.epistemic, found.entropy, atol=1e-10)
    divergences = [scipy_entropy(each, mean, axis=1) for each in proba]
    np.testing.assert_allclose(found.epistemic, np.tensordot(weights, divergences, axes=1), atol=1e-10)


def test_the_epistemic_part_is_the_mutual_information_of_member_and_class():
    # given: two members of equal weight, and as many draws of (member, class) as their probabilities say
    proba = np.array([[[0.75, 0.25]], [[0.25, 0.75]]])
    who, drawn = [0] * 4 + [1] * 4, [0, 0, 0, 1, 0, 1, 1, 1]

    assert uncertainty_of(members=proba, weights=np.array([0.5, 0.5])).epistemic[0] == pytest.approx(
        mutual_info_score(who, drawn)
    )


def test_the_variation_ratio_is_the_weight_of_the_outvoted_members():
    classes = np.array([[0, 0], [0, 1], [0, 1], [0, 2]])

    found = uncertainty_of(members=np.eye(3)[classes], weights=np.array([0.4, 0.3, 0.2, 0.1]))

    assert found.variation_ratio == pytest.approx([0, 0.5])


def test_the_threshold_of_nine_rows_at_eighty_percent_is_the_eighth_greatest():
    true = np.arange(1, 10) / 10

    found = Conformal(true, np.zeros(9, np.int64)).thresholds(coverage=0.8, n_classes=2)

    assert found.tolist() == [0.2, 0.2]  # ceil(10 * .8) = 8, so .9, .8, … the eighth is .2


def test_with_too_few_rows_every_class_is_in():
    found = Conformal(np.array([0.9, 0.8]), np.array([0, 1])).sets(np.eye(3), coverage=0.9)

    assert found.all()


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_over_many_draws_sets_have_the_requested_coverage(coverage):
    covered = []
    for seed in range(200):
        proba, y = sample(seed, rows=400)
        conformal = Conformal.of(proba=proba[:200], y=y[:200])
        sets = conformal.sets(proba[200:], coverage=coverage)
        covered.append(sets[np.arange(200), y[200:]].mean())

    # the expected coverage is ceil(201 c) / 201
    expected = np.ceil(201 * coverage) / 201
    assert np.mean(covered) == pytest.approx(expected, abs=3 * np.std(covered) / np.sqrt(200))


@pytest.mark.parametrize(("rows", "coverage"), [(60, 0.9), (200, 0.8)])
def test_the_range_of_the_coverage_matches_repeated_draws(rows: int, coverage: float) -> None:
    # probabilities that are uniform: the coverage of a threshold is one minus it
    rng = np.random.default_rng(0)
    y = np.arange(rows) % 2
    reached = []
    for _ in range(4000):
        conformal = Conformal(rng.random(rows), y)
        reached.append(1 - conformal.thresholds(coverage=coverage, n_classes=2)[0])

    low, high = conformal.coverage_range(coverage=coverage)

    assert (low, high) == pytest.approx(tuple(np.percentile(reached, [2.5, 97.5])), abs=0.006)
    half = Conformal(np.zeros(rows // 2), y[: rows // 2]).coverage_range(coverage=coverage)
    assert conformal.coverage_range(coverage=coverage, by_class=True) == half
    assert Conformal(np.zeros(3), np.zeros(3, int)).coverage_range(coverage=0.9) == (1.0, 1.0)


def test_a_hard_class_is_covered_only_with_thresholds_per_class():
    rng = np.random.default_rng(0)
    y = labels(rng, rows=20_000, classes=3)
    proba = np.where(y[:, None] == 2, member(rng, y, classes=3, skill=0.5), member(rng, y, classes=3, skill=3.0))
    conformal = Conformal.of(proba=proba[:10_000], y=y[:10_000])
    hard = np.flatnonzero(y[10_000:] == 2)

    whole, each = (
        conformal.sets(proba[10_000:], coverage=0.9, by_class=by_class)[hard, 2] for by_class in (False, True)
    )

    assert whole.mean() < 0.8
    assert each.mean() == pytest.approx(0.9, abs=0.02)


def test_a_conformal_predictor_survives_a_round_trip_through_its_arrays():
    proba, y = sample(0)
    conformal = Conformal.of(proba=proba.astype(np.float32), y=y)

    again = Conformal.from_arrays(conformal.to_arrays())

    np.testing.assert_array_equal(again.sets(proba, coverage=0.9), conformal.sets(proba, coverage=0.9))


def test_risk_and_coverage_equal_a_manual_calculation():
    # given: confidences .9 (right) .8 (wrong) .7 .7 (right, wrong)
    proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.7, 0.3]])

    found = RiskCoverage.of(proba=proba, y=np.array([0, 1, 0, 1]))

    assert found.coverage.tolist() == [0.25, 0.5, 1.0]
    assert found.risk.tolist() == [0.0, 0.5, 0.5]
    assert found.area == pytest.approx(0.25 * 0 + 0.25 * 0.5 + 0.5 * 0.5)
    assert found.confidence_for(0.1) == 0.9
    assert found.confidence_for(0.5) == 0.7
    assert found.at(0.75) == (0.5, 0.5)
    assert found.at(0.95) == (0.0, 0.0)


def test_no_threshold_is_valid_if_the_most_confident_row_is_wrong():
    assert RiskCoverage.of(proba=np.array([[0.9, 0.1]]), y=np.array([1])).confidence_for(0.1) is None
