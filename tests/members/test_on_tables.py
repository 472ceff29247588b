"""Members on typed columns learn and reproduce their bits; kinds without support for tables are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from tests.members.configurations import CONFIGURATIONS as ALL
from tests.members.configurations import NET, configurations, trained
from tests.tiny import LAPTOP, plan_of, tiny_data, tiny_table

from quorate.data.dataset import Dataset
from quorate.data.signature import Column, TableSignature
from quorate.data.table import Table
from quorate.members.base import load_member
from quorate.members.held_out import hold_out
from quorate.plan.planner import PlanError
from quorate.registry import MEMBERS

CHEAP = {
    name: {**configuration, "epochs": 40, "batch_size": 16} if "epochs" in configuration else configuration
    for name, configuration in ALL.items()
}
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


@pytest.mark.parametrize("name", configurations(images=False))
def test_every_kind_trains_on_columns_that_are_degenerate_in_its_fold(name, tmp_path):
    # given: columns without values or with one value, missing or not, of every kind, and a class that the fold lacks
    train, valid, later = degenerate(rows=100), degenerate(rows=30, seed=1), degenerate(rows=40, seed=2, alive=True)

    # when
    member = trained(CHEAP[name], train, valid)

    # then
    assert (member.predict_proba(valid.x).argmax(axis=1) == valid.y).mean() > 0.7
    proba = member.predict_proba(later.x)
    assert np.isfinite(proba).all()
    member.save(tmp_path)
    np.testing.assert_array_equal(load_member(tmp_path).predict_proba(later.x), proba)


def degenerate(*, rows: int, seed: int = 0, alive: bool = False) -> Dataset:
    """`x` tells the class; the other columns say something in rows that are `alive` only."""
    random = np.random.default_rng(seed)
    y = random.choice([0, 2], rows)
    dead = {"late": np.nan, "same": 7.0, "truth": True, "no_truth": None, "one": "u", "void": None}
    some = {
        "late": random.normal(1.7e9, 1e6, rows),
        "same": random.normal(0, 1e29, rows),
        "truth": random.random(rows) < 0.5,
        "no_truth": True,
        "one": random.choice(["u", "v"], rows),
        "void": random.choice(["p", "q"], rows),
    }
    frame = pd.DataFrame({"x": y + random.normal(0, 0.3, rows), **(some if alive else dead)})
    frame["part"] = np.where(random.random(rows) < 0.5, 3.0, np.nan)
    kinds = {"truth": "boolean", "no_truth": "boolean", "one": "categorical", "void": "categorical"}
    signature = TableSignature(tuple(Column(name, kinds.get(name, "numeric")) for name in frame))
    return Dataset(Table.of(frame, signature), y, ("a", "b", "c"))


def test_gradient_boosting_trains_if_only_held_out_rows_have_values_in_a_column():
    y = np.arange(60) % 2
    x = np.random.default_rng(0).normal(size=60) + 3 * y
    signature = TableSignature((Column("x", "numeric"), Column("rare", "numeric")))
    kept, held = hold_out(y, fraction=0.15, seed=1)
    for rows in (held, kept):
        rare = np.full(60, np.nan)
        rare[rows[:2]] = [1.0, 2.0]
        data = Dataset(Table.of(pd.DataFrame({"x": x, "rare": rare}), signature), y, ("a", "b"))

        member = trained(CHEAP["gradient boosting"], data, data)

        assert (member.predict_proba(data.x).argmax(axis=1) == y).mean() > 0.9


@pytest.mark.parametrize("name", configurations(images=False))
@pytest.mark.parametrize(("shift", "scale"), [(1.7e9, 1.0), (0.0, 1e-9), (-1e15, 1e3)])
def test_every_kind_learns_from_a_column_whatever_its_offset_and_scale(name, shift, scale):
    # given: scikit-learn's HistGradientBoosting on the same columns in float64 is right for more than .95 of the rows
    train, valid = moved(rows=150, shift=shift, scale=scale), moved(rows=100, shift=shift, scale=scale, seed=1)
    reference = HistGradientBoostingClassifier(min_samples_leaf=5).fit(train.x.frame.to_numpy(), train.y)
    assert reference.score(valid.x.frame.to_numpy(), valid.y) > 0.95

    member = trained(CHEAP[name], train, valid)

    assert (member.predict_proba(valid.x).argmax(axis=1) == valid.y).mean() > 0.9


def moved(*, rows: int, shift: float, scale: float, seed: int = 0) -> Dataset:
    """Rows of two classes: `t`, from shift to shift + 60 scale, determines the class by its half."""
    random = np.random.default_rng(seed)
    t = random.integers(0, 60, rows)
    frame = pd.DataFrame({"noise": random.normal(size=rows), "t": shift + scale * t})
    signature = TableSignature((Column("noise", "numeric"), Column("t", "numeric")))
    return Dataset(Table.of(frame, signature), (t >= 30).astype(np.int64), ("early", "late"))


@pytest.mark.parametrize(
    ("member", "data", "words"),
    [
        ("{kind: net, arch: small_cnn}", TRAIN, "does not accept tables of 5 columns .* choose mlp"),
        ("{kind: net, arch: mlp, size: 32}", TRAIN, "size works only with images"),
        ("{kind: net, arch: mlp, standardize: sample}", TRAIN, "standardize: sample does not apply to tables"),
        ("{kind: svm, standardize: sample}", TRAIN, "standardize: sample does not apply to tables"),
        ("{kind: svm, standardize: quantile}", tiny_data(), "standardize: quantile does not apply to images of 8x8x1"),
        (
            "{kind: net, arch: mlp, standardize: quantile}",
            tiny_data(),
            "standardize: quantile does not apply to images",
        ),
    ],
)
def test_the_plan_refuses_parameters_that_do_not_apply_to_the_rows(member, data, words):
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
