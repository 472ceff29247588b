"""What boosting holds out is a part of each class, or whole groups, and never the last row of a class."""

from __future__ import annotations

import numpy as np
import pytest

from quorate.members.held_out import hold_out


def test_each_class_is_held_out_in_proportion():
    y = np.repeat([0, 1, 2], [600, 300, 100])

    kept, held = hold_out(y, fraction=0.1, seed=0)

    assert sorted([*kept, *held]) == list(range(1000))
    np.testing.assert_allclose(np.bincount(y[held]), [60, 30, 10], atol=1)


def test_every_class_keeps_a_row_to_learn_from():
    y = np.array([0, 0, 0, 0, 1, 2, 2])

    for seed in range(30):
        kept, held = hold_out(y, fraction=0.5, seed=seed)

        assert set(y[kept]) == {0, 1, 2}
        assert len(held) == 2, "half of what is not needed"


def test_with_few_rows_none_may_be_held_out():
    kept, held = hold_out(np.array([0, 1, 1]), fraction=0.1, seed=0)

    assert (kept.tolist(), held.tolist()) == ([0, 1, 2], [])


def test_the_seed_decides():
    y = np.arange(100) % 2

    first, again, other = (hold_out(y, fraction=0.2, seed=seed)[1].tolist() for seed in (1, 1, 2))

    assert first == again != other


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together(seed):
    random = np.random.default_rng(seed)
    groups = random.integers(0, 40, 400)
    y = random.integers(0, 3, 400)

    kept, held = hold_out(y, fraction=0.2, seed=seed, groups=groups)

    assert not set(groups[kept]) & set(groups[held])
    assert 0.1 < len(held) / 400 <= 0.2


def test_a_group_with_all_rows_of_a_class_is_learned_from():
    y = np.repeat([0, 1], [50, 10])
    groups = np.r_[np.arange(50) % 10, np.full(10, 10)]

    for seed in range(20):
        assert set(y[hold_out(y, fraction=0.3, seed=seed, groups=groups)[0]]) == {0, 1}
