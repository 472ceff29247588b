"""Mixtures of rows take each value from the row or from one similar row."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import pairwise_distances

from quorate.data.signature import Column, TableSignature
from quorate.data.table import Table
from quorate.data.table_mixtures import NEIGHBOURS, RowMixtures

SIGNATURE = TableSignature((Column("size", "numeric"), Column("age", "numeric"), Column("town", "categorical")))


def rows(count: int = 200) -> Table:
    """Numbers of which each occurs once, and towns; some values are missing."""
    random = np.random.default_rng(0)
    age, town = random.normal(size=count), random.choice(["Ulm", "Bonn", "Kiel"], count).astype(object)
    age[::20], town[::15] = np.nan, None
    return Table.of(pd.DataFrame({"size": random.normal(size=count), "age": age, "town": town}), SIGNATURE)


def test_each_value_is_that_of_the_row_or_of_one_of_its_nearest_rows() -> None:
    # given: the nearest rows by an independent calculation
    table = rows()
    numbers = table.frame[["size", "age"]]
    missing = numbers["age"].isna().to_numpy(float)[:, None]
    filled = numbers.fillna(numbers.median())
    scaled = ((filled - filled.mean()) / filled.std(ddof=0)).to_numpy()
    flag = (missing - missing.mean()) / missing.std()
    towns = pd.get_dummies(table.frame["town"], dummy_na=True).to_numpy(float)
    distance = pairwise_distances(np.hstack([scaled, flag, towns]))
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1)[:, :NEIGHBOURS]

    mixtures = RowMixtures.of(table, seed=0)

    np.testing.assert_array_equal(np.sort(mixtures.near, axis=1), np.sort(nearest, axis=1))
    view, own = mixtures.view(3), table.frame["size"].to_numpy()
    size = view.frame["size"].to_numpy()
    swapped = size != own
    assert 0.1 < swapped.mean() < 0.3
    assert all(size[i] in own[nearest[i]] for i in np.flatnonzero(swapped))
    assert view.frame["town"].dtype == table.frame["town"].dtype
    assert view.signature == table.signature


def test_each_view_has_other_mixtures_which_are_the_same_at_every_access() -> None:
    one, again = RowMixtures.of(rows(), seed=0), RowMixtures.of(rows(), seed=0)

    assert one.view(1).digest() == again.view(1).digest()
    assert len({one.view(number).digest() for number in range(3)} | {rows().digest()}) == 4
    assert RowMixtures.of(rows(), seed=1).view(1).digest() != one.view(1).digest()


def test_equal_rows_and_very_few_rows_have_mixtures() -> None:
    table = rows().subset(np.zeros(10, np.int64))

    assert RowMixtures.of(table, seed=0).view(0).digest() == table.digest()
    two = RowMixtures.of(rows().subset(np.array([1, 2])), seed=0)
    assert two.near.tolist() == [[1], [0]]
