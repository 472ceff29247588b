"""Columns with many categories are encoded by labels of other rows in training, and by all labels later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import TargetEncoder
from tests.members.configurations import trained
from tests.tiny import plan_of, tiny_data

from quorate.data.dataset import Dataset
from quorate.data.features import load_features
from quorate.data.signature import Column, TableSignature
from quorate.data.table import Table
from quorate.data.table_features import fit_table_features
from quorate.data.target_features import fit_target_features
from quorate.members.base import load_member
from quorate.plan.planner import PlanError

SIGNATURE = TableSignature((Column("town", "categorical"), Column("size", "numeric"), Column("side", "categorical")))


def towns(*, rows: int = 400, classes: int = 2, seed: int = 0, groups: bool = False, number: int = 100) -> Dataset:
    """The town, of which there are `number`, tells most of the class."""
    random = np.random.default_rng(seed)
    town = random.integers(0, number, rows)
    y = np.where(random.random(rows) < 0.9, town % classes, random.integers(0, classes, rows))
    frame = pd.DataFrame(
        {
            "town": [f"town {i}" if i else None for i in town],
            "size": random.normal(size=rows),
            "side": random.choice(["left", "right"], rows),
        }
    )
    of_groups = np.arange(rows) // 2 if groups else None
    names = tuple(f"class {i}" for i in range(classes))
    return Dataset(Table.of(frame, SIGNATURE), y.astype(np.int64), names, groups=of_groups)


def fitted(data: Dataset, **settings):
    return fit_target_features(data, **({"standardize": "none", "encoding": "onehot", "seed": 3} | settings))


def with_other_label(data: Dataset, row: int) -> Dataset:
    return replace(data, y=np.where(np.arange(len(data)) == row, 1 - data.y, data.y))


def test_a_row_is_not_encoded_by_its_own_label() -> None:
    data = towns()
    _, before = fitted(data)

    _, after = fitted(with_other_label(data, 7))

    assert after[7, 0] == before[7, 0]
    assert (after[:, 0] != before[:, 0]).any(), "rows of the same town in other parts see the label"


def test_a_row_is_not_encoded_by_labels_of_its_group() -> None:
    data = towns(groups=True)
    _, before = fitted(data)

    _, after = fitted(with_other_label(data, 7))

    assert (after[6:8, 0] == before[6:8, 0]).all()


def test_later_rows_are_encoded_by_all_labels_as_scikit_learn_does() -> None:
    data, new = towns(), towns(seed=1, number=120)  # some towns are unknown
    features, _ = fitted(data)

    found = features(new.x)

    frame = data.x.frame[["town"]].astype(object)
    encoder = TargetEncoder(target_type="binary").fit(frame, data.y)
    expected = encoder.transform(new.x.frame[["town"]].astype(object))
    np.testing.assert_allclose(found[:, :1], expected, atol=1e-6)
    assert found.shape == (len(new), features.width) == (len(new), 1 + 1 + 2), "the share, the size, and two sides"


def test_each_of_several_classes_has_a_share() -> None:
    features, matrix = fitted(towns(classes=3))

    assert features.width == matrix.shape[1] == 3 + 1 + 2
    np.testing.assert_allclose(features(towns(classes=3).x)[:, :3].sum(axis=1), 1, atol=0.2)


def test_columns_with_few_categories_are_encoded_as_usual() -> None:
    data = towns(number=60)

    features, matrix = fitted(data, standardize="feature")

    usual = fit_table_features(data.x, standardize="feature", encoding="onehot")
    np.testing.assert_array_equal(matrix, usual(data.x))
    np.testing.assert_array_equal(features(data.x), usual(data.x))


@pytest.mark.parametrize("encoding", ["onehot", "ordinal"])
def test_loaded_features_are_the_same(encoding, tmp_path) -> None:
    features, _ = fitted(towns(), encoding=encoding, standardize="feature")

    loaded = load_features(tmp_path, features.save(tmp_path))

    new = towns(seed=1)
    np.testing.assert_array_equal(loaded(new.x), features(new.x))
    assert loaded.cardinalities == features.cardinalities == (() if encoding == "onehot" else (2,))


@pytest.mark.parametrize("kind", ["logistic", "extra_trees"])
def test_a_member_learns_more_from_many_categories(kind, tmp_path) -> None:
    train, new = towns(rows=600, number=200), towns(seed=1, number=200)

    rare, target = (trained({"kind": kind, "many_categories": how}, train, new) for how in ("rare", "target"))

    right = [(member.predict_proba(new.x).argmax(axis=1) == new.y).mean() for member in (rare, target)]
    assert right[1] > right[0] + 0.05
    target.save(tmp_path)
    np.testing.assert_array_equal(load_member(tmp_path).predict_proba(new.x), target.predict_proba(new.x))


def test_images_have_no_categories() -> None:
    with pytest.raises(PlanError, match="many_categories works only with tables, but the data are images"):
        plan_of("{m: {kind: logistic, many_categories: target}}", data=tiny_data())
