"""Weights agree with scikit-learn's, balanced draws with what can be counted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from tests.tiny import plan_of, tiny_data

from quorate.data.dataset import Dataset
from quorate.data.weighting import WeightingParams, balanced_rows, row_weights
from quorate.plan.planner import PlanError
from quorate.spec.file import SpecError

SKEWED = tiny_data(rows=60).take(np.r_[0:30, 30:60:3, 31:60:6])
OWN = np.random.default_rng(0).uniform(0.1, 3, len(SKEWED)).astype(np.float32)


def params(**given) -> WeightingParams:
    return WeightingParams(kind="any", **given)


def weighted(data: Dataset) -> Dataset:
    return dataclasses.replace(data, weight=np.linspace(1, 2, len(data)).astype(np.float32))


def test_without_weights_all_rows_count_the_same():
    assert row_weights(SKEWED, params()) is None
    assert row_weights(SKEWED, params(sampling="balanced")) is None


def test_the_weights_of_the_data_are_used_unchanged():
    np.testing.assert_array_equal(row_weights(dataclasses.replace(SKEWED, weight=OWN), params()), OWN)


def test_balanced_weights_are_those_of_scikit_learn():
    found = row_weights(SKEWED, params(class_weight="balanced"))

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, compute_sample_weight("balanced", SKEWED.y), rtol=1e-6)


def test_balanced_weights_of_a_fold_without_a_class_are_those_of_the_others():
    fold = SKEWED.take(np.flatnonzero(SKEWED.y != 1))

    found = row_weights(fold, params(class_weight="balanced"))

    np.testing.assert_allclose(found, compute_sample_weight("balanced", fold.y), rtol=1e-6)


def test_balanced_weights_of_weighted_rows_give_each_class_the_same_total():
    found = row_weights(dataclasses.replace(SKEWED, weight=OWN), params(class_weight="balanced"))

    factors = compute_class_weight("balanced", classes=np.arange(3), y=SKEWED.y, sample_weight=OWN)
    np.testing.assert_allclose(found, OWN * factors[SKEWED.y], rtol=1e-5)
    np.testing.assert_allclose(np.bincount(SKEWED.y, weights=found), OWN.sum() / 3, rtol=1e-5)


def test_classes_that_the_mapping_omits_have_weight_one():
    found = row_weights(SKEWED, params(class_weight={"class 2": 5, "class 0": 0.5}))

    np.testing.assert_array_equal(found, np.array([0.5, 1, 5])[SKEWED.y])


def test_class_names_that_are_read_as_numbers_are_names():
    assert params(class_weight={3: 2.0}).class_weight == {"3": 2.0}


def test_a_balanced_draw_has_as_many_rows_of_each_class_and_uses_all_of_a_small_one():
    # given: 40 rows of the class 0, 7 of the class 2, none of the class 1
    y = np.array([0] * 40 + [2] * 7)

    # when
    rows = balanced_rows(y, seed=3)

    # then
    assert sorted(np.bincount(y[rows]).tolist()) == [0, 23, 24]
    times = np.bincount(rows, minlength=47)
    assert set(times[:40]) == {0, 1}, "a large class gives different rows"
    assert set(times[40:]) <= {3, 4}, "a small one all of its rows, again and again"
    assert (np.diff(y[rows]) != 0).sum() > 10, "they are shuffled"


def test_a_balanced_draw_depends_on_the_seed_alone():
    y = np.arange(50) % 3

    np.testing.assert_array_equal(balanced_rows(y, seed=1), balanced_rows(y, seed=1))
    assert (balanced_rows(y, seed=1) != balanced_rows(y, seed=2)).any()


def test_the_remainder_goes_to_random_classes():
    """Over the seeds, the class that gets one row more is not always the same."""
    y = np.arange(10) % 3

    more = {int(np.bincount(y[balanced_rows(y, seed=seed)]).argmax()) for seed in range(20)}

    assert more == {0, 1, 2}


def test_there_can_be_fewer_rows_than_classes():
    assert len(balanced_rows(np.array([0, 1]), seed=0)) == 2
    assert len(balanced_rows(np.array([4]), seed=0)) == 1


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (
            "{kind: svm, class_weight: {class 7: 2}}",
            r"class_weight: there is no class 'class 7'; did you mean 'class 2'\? "
            r"\(the classes are class 0, class 1, class 2\)",
        ),
        (
            "{kind: knn, class_weight: balanced}",
            "knn cannot use sample weights \\(class_weight\\); .*logistic, .*net, .*sklearn, .*svm.* can",
        ),
        (
            "{kind: svm, sampling: balanced}",
            "sampling: svm splits off validation rows itself, and a row that is drawn twice could be on both sides of "
            "this split; use class_weight, or one of .*random_forest",
        ),
    ],
)
def test_the_plan_refuses_weighting_that_a_kind_does_not_support(member, message):
    with pytest.raises(PlanError, match=message) as refused:
        plan_of(f"{{m: {member}}}")

    assert refused.value.member == "m"


def test_a_kind_that_cannot_weigh_is_refused_where_the_data_have_weights():
    message = r"knn cannot use sample weights \(the data's weights\)"

    with pytest.raises(PlanError, match=message):
        plan_of("{m: knn}", data=weighted(tiny_data()))


def test_equal_weights_count_as_no_weights():
    same = dataclasses.replace(tiny_data(), weight=np.full(40, 2, np.float32))

    assert plan_of("{m: knn}", data=same).tasks


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("{kind: svm, class_weight: balance}", "'balance' is not one of 'balanced'"),
        ("{kind: svm, class_weight: {a: 0}}", "greater than 0"),
        ("{kind: svm, class_weight: {a: .inf}}", "finite"),
        ("{kind: svm, class_weight: {}}", "at least 1"),
        ("{kind: svm, sampling: balance}", "'balance' is not one of 'balanced'; did you mean 'balanced'?"),
        (
            "{kind: logistic, sampling: balanced, class_weight: balanced}",
            "class_weight: balanced and sampling: balanced serve the same purpose; remove one of them",
        ),
    ],
)
def test_wrong_values_are_errors_of_the_job_file(member, message):
    with pytest.raises(SpecError) as error:
        plan_of(f"{{m: {member}}}")

    assert message in str(error.value)


def test_only_members_that_use_weights_get_new_keys():
    plain, none, balanced, mapped = (
        plan_of(f"{{m: {{kind: logistic{rest}}}}}").tasks[0].key
        for rest in (
            "",
            ", class_weight: null, sampling: null",
            ", class_weight: balanced",
            ", class_weight: {class 1: 2}",
        )
    )

    assert plain == none
    assert len({plain, balanced, mapped}) == 3
