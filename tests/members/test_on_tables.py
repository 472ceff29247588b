"""Members on typed columns: they learn, keep their bits, and what cannot take tables says so."""

from __future__ import annotations

import numpy as np
import pytest
from tests.members.configurations import NET, trained
from tests.tiny import LAPTOP, plan_of, tiny_data, tiny_table

from quorate.kinds import MEMBERS
from quorate.members.base import load_member
from quorate.plan import PlanError

TRAIN, VALID = tiny_table(rows=150), tiny_table(rows=45, seed=1)
CONFIGURATIONS = {
    "svm": {"kind": "svm", "C": 10},
    "logistic": {"kind": "logistic"},
    "forest": {"kind": "random_forest", "trees": 30},
    "mlp": {**NET, "arch": {"kind": "mlp", "hidden": [32]}, "epochs": 20},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_member_learns_from_columns_and_is_the_same_after_saving(name, tmp_path):
    member = trained(CONFIGURATIONS[name], TRAIN, VALID)

    proba = member.predict_proba(VALID.x)

    assert proba.shape == (45, 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    assert (proba.argmax(axis=1) == VALID.y).mean() > 0.7
    member.save(tmp_path)
    np.testing.assert_array_equal(load_member(tmp_path).predict_proba(VALID.x), proba)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_same_seed_gives_the_same_bits_on_columns(name):
    first, second = (trained(CONFIGURATIONS[name], TRAIN, VALID) for _ in range(2))

    np.testing.assert_array_equal(first.predict_proba(VALID.x), second.predict_proba(VALID.x))


@pytest.mark.parametrize(
    ("member", "data", "words"),
    [
        ("{kind: net, arch: small_cnn}", TRAIN, "does not take tables of 5 columns .* choose mlp"),
        ("{kind: net, arch: mlp, size: 32}", TRAIN, "size is for images"),
        ("{kind: net, arch: mlp, standardize: sample}", TRAIN, "standardize: sample is not for tables"),
        ("{kind: svm, standardize: sample}", TRAIN, "standardize: sample is not for tables"),
        ("{kind: svm, standardize: quantile}", tiny_data(), "standardize: quantile is not for images of 8x8x1"),
        ("{kind: net, arch: mlp, standardize: quantile}", tiny_data(), "standardize: quantile is not for images"),
    ],
)
def test_what_has_no_meaning_for_the_rows_is_refused_by_the_plan(member, data, words):
    with pytest.raises(PlanError, match=words) as refused:
        plan_of(f"{{m: {member}}}", data=data)

    assert refused.value.member == "m"


def test_the_cost_on_columns_grows_with_the_rows():
    for configuration in CONFIGURATIONS.values():
        kind = MEMBERS.get(configuration["kind"])
        params = kind.Params.model_validate(configuration)
        kind.numerics(params, signature=TRAIN.signature, rows=100, hardware=LAPTOP)

        few, many = (kind.cost(params, signature=TRAIN.signature, rows=n, n_classes=3) for n in (100, 1_000))

        assert 0 < few < many
